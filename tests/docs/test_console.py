"""The reader of console blocks sees what is wrong."""

import os
from pathlib import Path

import pytest

from tests.docs.console import Example, Terminal, examples

PAGE = """
Text.

```console
$ cat > file <<'END'
> one
> two
> END
$ cat file
one
...
$ true
```

```sh
$ rm file
```
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path, dict(os.environ))


def test_only_console_blocks_are_read_with_their_output() -> None:
    assert list(examples(PAGE)) == [
        Example("cat > file <<'END'\none\ntwo\nEND"),
        Example("cat file", ["one", "..."]),
        Example("true"),
    ]


def test_a_block_without_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="does not begin with a command"):
        list(examples("```console\noutput\n```\n"))


def test_a_command_keeps_its_exit_code_and_what_it_exports(terminal: Terminal) -> None:
    assert terminal.run("export WORD=kept; false") == (1, "")
    assert terminal.run('test -t 1 && echo "$WORD"') == (0, "kept\r\n")


def test_what_a_command_leaves_running_does_not_hold_it_up(terminal: Terminal) -> None:
    code, written = terminal.run("sleep 5 & echo $!")
    os.kill(int(written), 15)
    assert code == 0


@pytest.mark.parametrize(
    ("shown", "written", "agrees"),
    [
        ([], "anything\n", True),
        (["a  b"], "a b\r\n", True),
        (["a ... c"], "a b c\n", True),
        (["a ... c"], "a b d\n", False),
        (["a"], "a\nb\n", False),
        (["a", "..."], "a\nb\nc\n", True),
        (["...", "c"], "a\nb\nc\n", True),
        (["a"], "\x1b[31ma\x1b[0m\r\n", True),
        (["a.c"], "abc\n", False),
    ],
)
def test_output_is_compared_line_by_line_with_dots_for_anything(shown: list[str], written: str, agrees: bool) -> None:
    assert Example("", shown).agrees(written) is agrees
