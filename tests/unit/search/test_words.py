import pytest

from nexus_hub.search.words import drop_stop_words, find_misspellings, find_stems, split_clauses, split_parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("getWeatherForecast", ["get", "Weather", "Forecast"]),
        ("get_weather-forecast2", ["get", "weather", "forecast", "2"]),
        ("parseJSONFile", ["parse", "JSON", "File"]),
        ("Überprüfe café", ["Überprüfe", "café"]),
        ("ＡＢＣ", ["ABC"]),
        ("MCP工具箱", ["MCP", "工具", "具箱"]),
        ("天", ["天"]),
        ("", []),
    ],
)
def test_names_are_split_into_their_parts(text: str, parts: list[str]) -> None:
    assert split_parts(text) == parts


def test_words_of_one_stem_are_the_same() -> None:
    assert find_stems("Converting the files") == find_stems("convert a file") == ["convert", "file"]


def test_a_text_of_stop_words_alone_is_kept() -> None:
    assert drop_stop_words("what is this") == "what is this"
    assert drop_stop_words("what is a cat") == "cat"


def test_a_request_is_split_at_its_punctuation() -> None:
    text = "Read the file report.pdf, draw a chart; thanks. 写一份报告。发送邮件"
    assert [clause.strip() for clause in split_clauses(text, 9)] == [
        "Read the file report.pdf",
        "draw a chart",
        "写一份报告",
        "发送邮件",
    ]
    assert len(split_clauses(text, 2)) == 2
    assert split_clauses("Read the file.", 9) == []


@pytest.mark.parametrize("wrong", ["clculate", "callculate", "calculaet", "calculbte"])
def test_each_slip_is_found(wrong: str) -> None:
    assert "calculate" in set(find_misspellings(wrong))
