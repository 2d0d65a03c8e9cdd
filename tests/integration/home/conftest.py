"""Homes and their settings, as the tests of the stack have them."""

from tests.integration.stack.conftest import base, home, settings

__all__ = ["base", "home", "settings"]
