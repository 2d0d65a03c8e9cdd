"""A tool to each call of which a person has to say yes, and ann, who calls it."""

import pytest

from nexus_hub.models import Principal, ServerRef
from tests.fixtures.approvals import ApprovalDesk, add_time_server
from tests.fixtures.library import Library


@pytest.fixture
async def server(library: Library) -> ServerRef:
    return await add_time_server(library)


@pytest.fixture
async def desk(library: Library, server: ServerRef) -> ApprovalDesk:
    made = await ApprovalDesk.open(library.database)
    await made.guard(server.server_ref_id)
    return made


@pytest.fixture
async def ann(desk: ApprovalDesk) -> Principal:
    return await desk.user("ann")
