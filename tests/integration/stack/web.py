"""A small web server as a part of a stack: `web.py PORT [stubborn] [child]`; runs by its path."""

import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


def main(port: int, habits: list[str]) -> None:
    if "stubborn" in habits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in habits:  # in a session of its own, as an MCP server started over stdio is
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
