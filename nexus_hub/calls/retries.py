"""Pauses between the tries of one call, for every lane that repeats it."""

UPSTREAM_PAUSES = (0.5, 1.5)
"""Seconds before a call that did not reach its server is sent again."""
