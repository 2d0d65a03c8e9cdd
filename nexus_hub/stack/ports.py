"""Ports: free ones, and the processes that listen on the others."""

import errno
import socket
from contextlib import closing

import psutil

from nexus_hub.errors import PortTaken, StartFailed


def require_free(host: str, port: int, setting: str) -> None:
    """Refuse a port that another program listens on.

    Raises:
        PortTaken: with the setting that moves the port.
        StartFailed: the address or the port can't be used at all.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with closing(socket.socket(family, kind, protocol)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(port, setting, _holder(port)) from None
            raise StartFailed(setting, f"{host} port {port} can't be listened on: {error.strerror}") from None


def listener(port: int) -> int | None:
    """The process that listens on a TCP port; None if there is none, or none that we may know of."""
    try:
        taken = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.laddr[1:] == (port,)]
    except psutil.Error:
        return None
    return next((connection.pid for connection in taken if connection.pid), None)


def _holder(port: int) -> str | None:
    try:
        pid = listener(port)
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else None
    except psutil.Error:
        return None
