"""A hub for all the MCP servers of a team: the library behind the flows, the API and the command line."""

__version__ = "0.1.0"
