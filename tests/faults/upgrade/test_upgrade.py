"""A fleet is brought to the next release and back, part by part, while it is at work: nobody notices."""

import pytest

from tests.faults.upgrade.run import upgrade

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_an_upgrade_and_its_way_back_fail_nothing() -> None:
    assert upgrade().broken == {}
