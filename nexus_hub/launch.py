"""Become another program, one that ends with its parent and that may run as another user.

This file is run by its path, in a fresh interpreter without site-packages: standard library only. It takes its
options as JSON in the first argument and the command in the others, and replaces itself with that command, so that
the process id stays. Doing this after a fork inside the parent would run Python between fork and exec, which
is not safe in a process with threads.

All that the hub asks of Linux alone is here. On another system a part does not end with a supervisor that is
killed: the next one ends it.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
MARK = "NEXUS_CHILD"
"""Variable of a command and of what it starts: the process id of the one that started it, and its own."""


def launch_line(
    command: Sequence[str],
    *,
    death_signal: signal.Signals,
    uid: int | None = None,
    gid: int | None = None,
    failure_to: int | None = None,
    is_marked: bool = False,
) -> tuple[str, ...]:
    """Write the command line of a command that ends with this process, by the signal.

    `failure_to` is a file descriptor that gets the error number if the command can't be started, and is closed
    otherwise. One that `is_marked` has the mark in its environment, as all that it starts.
    """
    options = {
        "parent": os.getpid(),
        "death_signal": int(death_signal),
        "uid": uid,
        "gid": gid,
        "failure_to": failure_to,
        "is_marked": is_marked,
    }
    return (sys.executable, "-I", "-S", __file__, json.dumps(options), *command)


def main(arguments: Sequence[str]) -> None:
    """Apply the options, then become the command; only a failure comes back."""
    options, command = json.loads(arguments[0]), list(arguments[1:])
    try:
        _become(options)
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        if options["failure_to"] is not None:
            os.write(options["failure_to"], str(error.errno).encode())
        sys.exit(f"{command[0]} can't be started: {error}")


def _become(options: dict[str, int | None]) -> None:
    parent, failure_to = options["parent"], options["failure_to"]
    if failure_to is not None:
        os.set_inheritable(failure_to, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a parent that waits for signals has blocked them
    if options["is_marked"]:
        os.environ[MARK] = f"{parent}:{os.getpid()}"
    if options["uid"] is not None:
        _become_user(options["uid"], options["gid"] or 0)
    if sys.platform == "linux":
        _end_with(parent, options["death_signal"] or 0)


def _become_user(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)  # which takes all of root's capabilities away
    if sys.platform == "linux":
        _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _end_with(parent: int | None, death_signal: int) -> None:
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
