"""Logs that are put aside: at a start, and while somebody writes to them."""

import errno
import os
from pathlib import Path

import pytest

from nexus_hub.home.files import rotate, rotate_all, write_private
from nexus_hub.stack.process import open_log


def test_a_log_over_the_limit_is_moved_and_so_many_older_ones_stay(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    for number in range(5):
        log.write_text(f"{number}" * 10)
        rotate(log, limit=10, keep=3)
    assert {path.name: path.read_text()[0] for path in tmp_path.iterdir()} == {
        "api.log.1": "4",
        "api.log.2": "3",
        "api.log.3": "2",
    }


def test_a_log_below_the_limit_stays(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("short")
    rotate(log, limit=10)
    rotate(log, limit=10, in_use=True)
    assert log.read_text() == "short"


def test_a_log_in_use_is_put_aside_and_its_writer_goes_on_at_the_beginning(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    handle = open_log(log)
    try:
        os.write(handle, b"before\n" * 10)
        rotate(log, limit=70, in_use=True)
        os.write(handle, b"after\n")
    finally:
        os.close(handle)
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "api.log.1").read_bytes() == b"before\n" * 10
    assert (tmp_path / "api.log.1").stat().st_mode & 0o777 == 0o600


def test_of_a_log_that_grew_far_past_the_limit_the_end_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_bytes(b"old" * 100 + b"new")
    rotate(log, limit=3, in_use=True)
    assert (log.read_bytes(), (tmp_path / "api.log.1").read_bytes()) == (b"", b"new")


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_log_that_a_full_disk_takes_no_copy_of_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [tmp_path / name for name in ("api.log", "up.log", "deploy.log")]
    for log in logs:
        log.write_bytes(bytes(20 * 1024 * 1024))
    monkeypatch.setattr("os.open", full)
    with pytest.raises(OSError, match="No space"):
        rotate_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(log.name for log in logs)
    assert [log.stat().st_size for log in logs] == [0, 0, 0]


def test_what_a_full_disk_does_not_take_leaves_the_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    write_private(path, "before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "after")
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]
    assert path.read_text() == "before"


def test_a_program_starts_without_its_log_where_the_disk_takes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        opened.append(str(path))
        if str(path) != os.devnull:
            full()
        return real(path, flags, mode)

    monkeypatch.setattr("os.open", refuse)
    handle = open_log(tmp_path / "api.log")
    monkeypatch.undo()
    os.close(handle)
    assert opened == [str(tmp_path / "api.log"), os.devnull]
