"""FastMCP's proxy, for an environment that has `fastmcp`. Started with a port and the URL of an upstream server."""

import sys
from importlib import import_module


def main() -> None:
    proxy = import_module("fastmcp.server").create_proxy(sys.argv[2], name="bench")
    proxy.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="ERROR")


if __name__ == "__main__":
    main()
