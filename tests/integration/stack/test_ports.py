"""Ports that are taken."""

import socket
from collections.abc import Iterator

import psutil
import pytest

from nexus_hub.errors import PortTaken, StartFailed
from nexus_hub.settings import Settings
from nexus_hub.stack.parts import require_ports
from nexus_hub.stack.ports import require_free
from tests.integration.stack.plans import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


@pytest.mark.parametrize(("field", "setting"), [("port", "NEXUS_PORT"), ("prefect_port", "NEXUS_PREFECT_PORT")])
def test_a_taken_port_names_itself_its_holder_and_the_setting(
    settings: Settings, taken: int, field: str, setting: str
) -> None:
    with pytest.raises(PortTaken, match=rf"The port {taken} is taken: .+ listens on it\. .*{setting}") as error:
        require_ports(settings.model_copy(update={field: taken}))
    assert psutil.Process().name() in error.value.message


def test_the_port_of_prefect_is_not_asked_for_when_prefect_is_elsewhere(settings: Settings, taken: int) -> None:
    outside = {"prefect_port": taken, "prefect_api_url": "http://prefect.example/api"}
    require_ports(settings.model_copy(update=outside))


def test_a_port_stays_free_after_it_was_asked_for() -> None:
    port = free_port()
    require_free("127.0.0.1", port, "NEXUS_PORT")
    require_free("127.0.0.1", port, "NEXUS_PORT")


def test_an_address_that_is_not_of_this_machine_is_not_called_taken() -> None:
    with pytest.raises(StartFailed, match="can't be listened on"):
        require_free("192.0.2.1", 8080, "NEXUS_PORT")
