"""Text from outside stays text: on a line, on a terminal, in Markdown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from nexus_hub.telemetry.text import SPACES, markdown, printable, spell_out
from tests.fixtures.hostile import HOSTILE, is_harmless

PLAIN_WORDS = ["time", "time__get_current_time", "tool-error", "1 of 3", "0.123", "ended as, by itself", "a_b-c"]


def inline(text: str) -> list[Token]:
    """The inline tokens of a heading, a table's cell and an item that show the text."""
    page = f"# {text}: failed\n\n| a | b |\n|---|---|\n| {text.replace('|', chr(92) + '|')} | end |\n\n- {text}\n"
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(page)
    kinds = [token.type for token in tokens if token.nesting >= 0 and token.type != "inline"]
    assert kinds == [
        *("heading_open", "table_open", "thead_open", "tr_open", "th_open", "th_open", "tbody_open", "tr_open"),
        *("td_open", "td_open", "bullet_list_open", "list_item_open", "paragraph_open"),
    ]
    return [child for token in tokens for child in token.children or []]


@pytest.mark.parametrize("text", [*HOSTILE, *PLAIN_WORDS])
def test_in_markdown_a_text_is_words_or_code_and_nothing_else(text: str) -> None:
    tokens = inline(markdown(text))
    assert {token.type for token in tokens} <= {"text", "code_inline"}
    words = " ".join(token.content for token in tokens if token.type == "text")
    assert not any(sign in words for sign in "@/<>&`*[]()!|~$\\")
    assert "www." not in words
    shown = {token.content.strip() for token in tokens if token.type == "code_inline"}
    assert shown <= {printable(text).strip(), printable(text).replace("|", "\\|").strip()}


@pytest.mark.parametrize("text", PLAIN_WORDS)
def test_in_markdown_plain_words_stay_as_they_are(text: str) -> None:
    assert markdown(text) == text


@given(st.text())
def test_any_text_is_one_harmless_line_in_markdown(text: str) -> None:
    assert is_harmless(markdown(text))
    assert {token.type for token in inline(markdown(text))} <= {"text", "code_inline"}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("longest", [80, 120])
def test_a_line_is_harmless_and_short(text: str, longest: int) -> None:
    shown = printable(text, longest=longest)
    assert is_harmless(shown)
    assert len(shown) <= longest


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_several_lines_is_harmless(text: str) -> None:
    assert is_harmless(spell_out(text, keep="\n\t"), lines=True)


@pytest.mark.parametrize(
    "text",
    [
        "naïve café",
        "e\u0301",
        "天気 を\u3000調べる",
        "नमस्ते",
        "สวัสดีน้ำ",
        "שָׁלוֹם",
        "Việt Nam",
        "✅ ⚠\ufe0f ❤\ufe0f",
        "a\tb\nc",
        "C:\\x",
    ],
)
def test_texts_of_people_are_shown_as_they_are(text: str) -> None:
    assert spell_out(text, keep=SPACES) == text


def test_accents_are_spelled_out_where_they_pile_up_or_stand_on_nothing() -> None:
    assert spell_out("e" + "\u0301" * 6) == "e" + "\u0301" * 4 + "\\u0301" * 2
    assert spell_out("\u0301a") == "\\u0301a"
    assert spell_out("é\u0301") == "é\u0301"


def test_a_character_beyond_four_digits_is_told_from_a_shorter_one() -> None:
    assert printable("\U000e0041") == "\\U000e0041"
    assert printable("\u000e0041") == "\\u000e0041"
