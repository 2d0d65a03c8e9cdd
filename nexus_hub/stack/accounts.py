"""The user that PostgreSQL runs as when the hub runs as root, and the paths which that user can reach.

PostgreSQL refuses to run as root. Directories that are not the hub's are never changed for its user, and no
capability is kept: what the user can't reach is copied for it, or refused.
"""

import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from nexus_hub.address import default_home
from nexus_hub.errors import NotConfigured, UnsafeHome
from nexus_hub.stack.process import Account

USERS = ("postgres", "nobody")
"""Whose PostgreSQL is when the hub runs as root: its own user if the machine has one. initdb asks for a name, so that
a user id without an entry in the machine's list of users will not do."""


def server_account(data: Path) -> Account | None:
    """Choose the user of the server: None for the one of this process, which any user but root can be.

    A data directory stays with the user that made it, also when the machine gets a user `postgres` later.

    Raises:
        NotConfigured: the machine has no such user.
    """
    if os.geteuid() != 0:
        return None
    with suppress(OSError, KeyError):
        if owner := data.stat().st_uid:
            return _account(pwd.getpwuid(owner))
    for name in USERS:
        with suppress(KeyError):
            return _account(pwd.getpwnam(name))
    raise NotConfigured(
        "NEXUS_DATABASE_URL",
        "PostgreSQL does not run as root, and this machine has no user postgres or nobody to run it as; "
        "start the hub as an ordinary user, or name an outside PostgreSQL",
    )


def require_reachable(path: Path, account: Account | None) -> None:
    """Refuse a home's directory, which need not exist yet, that the server's user can't enter.

    Raises:
        UnsafeHome: with the directory that is in the way.
        NotConfigured: this process can't become that user.
    """
    if account is None:
        return
    existing = [parent for parent in (path, *path.parents) if parent.exists()]
    if can_enter(existing[0], account):
        return
    closed = next(parent for parent in reversed(existing) if not can_enter(parent, account))
    raise UnsafeHome(
        f"PostgreSQL does not run as root but as user {account.name}, who can't enter {closed}: set NEXUS_HOME to a "
        f"directory below ones that everybody may enter, such as {default_home()}, start the hub as an ordinary user, "
        f"or run chmod o+x {closed}"
    )


def can_enter(path: Path, account: Account) -> bool:
    """Ask as that user whether it may enter a directory, or run a program.

    Raises:
        NotConfigured: this process can't become that user, as in a container without the capability to.
    """
    test = shutil.which("test") or "/bin/test"
    try:
        asked = subprocess.run(
            [test, "-x", path], user=account.uid, group=account.gid, extra_groups=[], check=False, cwd="/"
        )
    except OSError as error:
        raise NotConfigured(
            "NEXUS_DATABASE_URL",
            f"PostgreSQL does not run as root, and this process can't become user {account.name} ({error.strerror}); "
            "start the hub as an ordinary user, or name an outside PostgreSQL",
        ) from None
    return asked.returncode == 0


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
