"""Logs that are put aside: at a start, and while somebody writes to them."""

import os
from pathlib import Path

from nexus_hub.home.files import rotate
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
        rotate(log, limit=10, in_use=True)
        os.write(handle, b"after\n")
    finally:
        os.close(handle)
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "api.log.1").read_bytes() == b"before\n" * 10
    assert (tmp_path / "api.log.1").stat().st_mode & 0o777 == 0o600
