"""Become another program, one that ends with its parent and that may run as another user.

This file is run by its path, in a fresh interpreter without site-packages: standard library only. It takes its
options as JSON in the first argument and the command in the others, and replaces itself with that command, so that
the process id stays. Doing this after a fork inside the supervisor would run Python between fork and exec, which
is not safe in a process with threads.

All that the stack asks of Linux alone is here. On another system a part does not end with a supervisor that is
killed: the next one ends it.
"""

import ctypes
import json
import os
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def main(arguments: Sequence[str]) -> None:
    """Apply the options, then become the command; only a failure comes back."""
    options, command = json.loads(arguments[0]), list(arguments[1:])
    try:
        if options["uid"] is not None:
            _become(options["uid"], options["gid"])
        if sys.platform == "linux":
            _end_with(options["parent"], options["death_signal"])
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"{command[0]} can't be started: {error}")


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)  # which takes all of root's capabilities away
    if sys.platform == "linux":
        _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _end_with(parent: int, death_signal: int) -> None:
    _prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def _prctl(option: int, value: int) -> None:
    arguments = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    main(sys.argv[1:])
