"""A fleet on one machine: many API, worker and Prefect processes with Redis, PostgreSQL and a proxy, to be struck."""

from deployments.fleet.fleet import Fleet
from deployments.fleet.part import Part

__all__ = ["Fleet", "Part"]
