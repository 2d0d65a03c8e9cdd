"""Homes in short directories, as the stack's tests have them."""

from tests.integration.stack.conftest import base, home, settings

__all__ = ["base", "home", "settings"]
