from dataclasses import replace

from documents import page

from darkroom.pipelines.ocr.outputs.legible import clean, legible


def test_unsure_and_empty_lines_are_left_out() -> None:
    read = page(["sure", "unsure", " ", "own"])
    sure, unsure, empty, own = read.lines
    read = replace(read, lines=(sure, replace(unsure, score=0.4), empty, replace(own, score=None)))
    assert [line.text for line in legible(read, 0.5)] == ["sure", "own"]
    assert [line.text for line in legible(read, 0.4)] == ["sure", "unsure", "own"]


def test_text_comes_on_one_line() -> None:
    assert clean("  two\nlines\tand\x00\x0c more ") == "two lines and more"
    assert clean("中\u3000文") == "中 文"


def test_half_a_character_is_shown_as_missing() -> None:
    assert clean("a\ud83d") == "a\ufffd"


def test_characters_of_all_planes_stay() -> None:
    assert clean("é ﬁ 你 😀👍🏽 𝄞 مرحبا") == "é ﬁ 你 😀👍🏽 𝄞 مرحبا"
