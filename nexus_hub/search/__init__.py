"""Search for tools in the process's memory, for callers who see different ones."""
