"""Orphans: processes of servers' commands whose hub process was killed, and that do not end by themselves."""

import logging
import os
from contextlib import suppress

import psutil

from nexus_hub.launch import MARK

logger = logging.getLogger(__name__)


def end_orphans() -> int:
    """Kill all orphans of this machine that the hub's user may look at; the number of them.

    Those that left the session of their command, such as a daemon, are spared, as they are when a command is closed.
    """
    ended = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError):
            mark = process.environ().get(MARK)
            if mark is not None and _is_orphan(process.pid, *map(int, mark.split(":"))):
                process.kill()
                ended += 1
    if ended:
        logger.warning("%d processes of servers were ended whose hub process is gone", ended)
    return ended


def _is_orphan(pid: int, parent: int, command: int) -> bool:
    """Tell if a process belongs to a command that its parent does not have any more."""
    if os.getsid(pid) != command:
        return False
    if psutil.pid_exists(command):
        return psutil.Process(command).ppid() != parent
    return not psutil.pid_exists(parent)
