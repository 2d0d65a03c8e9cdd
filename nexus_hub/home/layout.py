"""NEXUS_HOME: the data directory of the embedded default, its secrets, and the lock that says who runs it.

home/                   0700, as root 0711; made only if it does not exist, never changed if it does
├── lock                held while a supervisor runs; names its process
├── service.key  prefect.auth  keyring.json  database.json     secrets, 0600, made at first start
├── logs/<part>.log     what each part prints
├── postgres/           like the home; data/ and socket/ (of PostgreSQL's own user if the hub runs as root), programs/
├── prefect/            PREFECT_HOME of the server and of all parts
└── run/                state.json, worker.json (heartbeat), worker.prom (metrics), socket-directory
"""

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from nexus_hub.errors import AlreadyRunning, NotAllowed, NotConfigured, UnsafeHome

SOCKET_PORT = 5432


class Home:
    """The paths and secrets below one NEXUS_HOME; making the object touches nothing."""

    def __init__(self, path: Path, *, socket_port: int = SOCKET_PORT) -> None:
        self.socket_port = socket_port
        self.path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100
        self.logs = self.path / "logs"
        self.postgres = self.path / "postgres"
        self.prefect = self.path / "prefect"
        self.run = self.path / "run"
        self.lock_file = self.path / "lock"
        self.state_file = self.run / "state.json"
        self.heartbeat_file = self.run / "worker.json"
        self.worker_metrics_file = self.run / "worker.prom"
        self.socket_record = self.run / "socket-directory"
        self.service_key_file = self.path / "service.key"
        self.prefect_auth_file = self.path / "prefect.auth"
        self.keyring_file = self.path / "keyring.json"
        self.passwords_file = self.path / "database.json"

    def create(self) -> None:
        """Make the home and its directories where they are missing; what exists keeps its mode.

        Raises:
            UnsafeHome: it belongs to another user, or others can write to it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # As root, PostgreSQL's user passes through to its own directories; it can list nothing on the way.
        passage = 0o711 if os.geteuid() == 0 else 0o700
        _make_directory(self.path, passage)
        _make_directory(self.postgres, passage)
        for directory in (self.logs, self.prefect, self.run):
            _make_directory(directory, 0o700)

    def require_ours(self) -> None:
        """Refuse a home that is no directory of ours alone; it must exist.

        Raises:
            UnsafeHome: it belongs to another user, or others can write to it.
        """
        _require_ours(self.path)

    def service_key(self) -> str:
        """The operator's key.

        Raises:
            NotConfigured: the hub was never started on this home.
        """
        return self._secret(self.service_key_file, "NEXUS_SERVICE_KEY")

    def prefect_auth(self) -> str:
        """`user:password` of the embedded Prefect's API and UI.

        Raises:
            NotConfigured: the hub was never started on this home.
        """
        return self._secret(self.prefect_auth_file, "PREFECT_API_AUTH_STRING")

    def password(self, role: str) -> str:
        """The password of one role of the embedded PostgreSQL.

        Raises:
            NotConfigured: the hub was never started on this home.
        """
        passwords = json.loads(self._secret(self.passwords_file, "NEXUS_DATABASE_URL"))
        return str(passwords[role])

    def socket_directory(self) -> Path:
        """The directory of the embedded PostgreSQL's socket: in the home, or elsewhere when that path is too long."""
        try:
            return Path(self.socket_record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return self.postgres / "socket"

    def database_url(self) -> str:
        """The hub's embedded database, as the app's role, which owns nothing."""
        return self.role_url("nexus_hub", "hub")

    def migration_database_url(self) -> str:
        """The hub's embedded database, as the role that owns the schema."""
        return self.role_url("nexus_owner", "hub")

    def prefect_database_url(self) -> str:
        """The embedded Prefect's database, in the form that Prefect takes."""
        return self.role_url("prefect", "prefect").replace("postgresql:", "postgresql+asyncpg:", 1)

    def role_url(self, role: str, database: str) -> str:
        """A database of the embedded PostgreSQL as one of its roles."""
        host = quote(str(self.socket_directory()), safe="/")
        password = quote(self.password(role), safe="")
        return f"postgresql://{role}:{password}@/{database}?host={host}&port={self.socket_port}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home: no second supervisor can.

        Raises:
            AlreadyRunning: another one does.
        """
        handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(handle):
                raise AlreadyRunning(self.path, self.running_pid())
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(handle)

    def running_pid(self) -> int | None:
        """The process id of the supervisor that holds the home; None if it is stopped, 0 if it can't be read yet.

        Raises:
            NotAllowed: the home is another user's.
        """
        try:
            with self.lock_file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except PermissionError:
            raise NotAllowed(f"{self.path} belongs to another user, who alone can stop or ask its hub.") from None
        except BlockingIOError:
            text = self.lock_file.read_text(encoding="ascii").strip()
            return int(text) if text.isdecimal() else 0
        return None

    def _secret(self, path: Path, setting: str) -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise NotConfigured(setting, f"and there is no {path}; start the hub once with: nexus-hub up") from None


def _locked(handle: int) -> bool:
    # Who asks for the holder has the lock for a moment: that is no supervisor.
    for _ in range(20):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _make_directory(path: Path, mode: int) -> None:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        _require_ours(path)
    else:
        path.chmod(mode)  # which no umask takes from


def _require_ours(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeHome(f"{path} is not a directory; set NEXUS_HOME to one, or to a path where none is yet.")
    if status.st_uid != os.geteuid():
        raise UnsafeHome(
            f"{path} belongs to user {status.st_uid} and this process runs as user {os.geteuid()}; "
            "run as its owner, or set NEXUS_HOME to a directory of your own."
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnsafeHome(
            f"Others can write to {path} (mode {stat.S_IMODE(status.st_mode):04o}); take that right away with "
            "chmod go-w, or set NEXUS_HOME to another directory."
        )
