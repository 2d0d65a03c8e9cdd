"""Become another program, one that ends with its parent and that may run as another user.

This file is run by its path, in a fresh interpreter without site-packages: standard library only. It takes its
options as JSON in the first argument and the command in the others, and replaces itself with that command, so that
the process id stays. Doing this after a fork inside the supervisor would run Python between fork and exec, which
is not safe in a process with threads.
"""

import ctypes
import json
import os
import sys
from collections.abc import Sequence

CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main(arguments: Sequence[str]) -> None:
    """Apply the options, then become the command; only a failure comes back."""
    options, command = json.loads(arguments[0]), list(arguments[1:])
    try:
        if options["uid"] is not None:
            _become(options["uid"], options["gid"], options["needs"])
        if sys.platform == "linux":
            _end_with(options["parent"], options["death_signal"])
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"{command[0]} can't be started: {error}")


def _become(uid: int, gid: int, needs: Sequence[str]) -> None:
    if sys.platform == "linux":
        _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        # access() asks with the real user id and without capabilities: it tells what the user can do by itself.
        reachable = all(os.access(path, os.R_OK | os.X_OK) for path in needs)
        _keep(None if reachable else _search_capability())


def _search_capability() -> int:
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if _permitted() & (1 << capability):
            return capability
    raise PermissionError(
        "its user can't enter the directories above its data, and this system grants no capability for that; "
        "use a NEXUS_HOME below directories that everybody may enter, or start as an ordinary user"
    )


def _permitted() -> int:
    header, sets = _Header(CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    _checked(ctypes.CDLL(None, use_errno=True).capget(ctypes.byref(header), sets))
    return int(sets[0].permitted)


def _keep(capability: int | None) -> None:
    """Leave one capability, or none, to this process and to the program it becomes."""
    mask = 0 if capability is None else 1 << capability
    header, sets = _Header(CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    sets[0] = _Sets(mask, mask, mask)
    _checked(ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(header), sets))
    if capability is not None:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _end_with(parent: int, death_signal: int) -> None:
    _prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


def _prctl(option: int, value: int, argument: int = 0) -> None:
    arguments = [ctypes.c_ulong(number) for number in (value, argument, 0, 0)]
    _checked(ctypes.CDLL(None, use_errno=True).prctl(option, *arguments))


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    main(sys.argv[1:])
