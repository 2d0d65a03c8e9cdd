import errno
import stat
from pathlib import Path

import pytest

from nexus_hub.upstream import stdio
from nexus_hub.upstream.stdio import ErrorLog


def test_a_full_log_makes_room_and_both_files_stay_within_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    log = ErrorLog(path, limit=100)
    for number in range(50):
        log.data_received(f"line {number:03}\n".encode())
    log.data_received(b"x" * 1000)
    log.connection_lost(None)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["server.log", "server.log.1"]
    assert all(file.stat().st_size <= 100 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert path.read_bytes() == b"x" * 100


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        log = ErrorLog(tmp_path / "server.log")
        log.data_received(text)
        log.connection_lost(None)
    assert (tmp_path / "server.log").read_bytes() == b"one\ntwo\n"


def test_a_log_does_not_follow_a_link(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "server.log").symlink_to(other)
    with pytest.raises(OSError, match=r"server\.log"):
        ErrorLog(tmp_path / "server.log")
    assert other.read_text() == "mine"


def test_a_full_disk_costs_what_was_written_and_not_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, str(path))

    path = tmp_path / "server.log"
    log = ErrorLog(path, limit=4)
    with monkeypatch.context() as disk:
        disk.setattr(stdio, "_open_private", full)
        log.data_received(b"12345")  # which asks for a new file
    log.data_received(b"67890")
    log.connection_lost(None)
    assert path.read_bytes() == b"7890"
