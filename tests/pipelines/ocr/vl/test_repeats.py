from hypothesis import given
from hypothesis import strategies as st

from darkroom.pipelines.ocr.vl.repeats import FEWEST_CHARACTERS, without_repeats


def test_what_is_said_again_and_again_is_said_once() -> None:
    assert without_repeats("A page. " + "and so on, " * 30) == "A page. and so on,"
    assert without_repeats("x" * 80) == "x"


def test_a_last_repeat_may_be_a_piece_of_one() -> None:
    assert without_repeats("Start. " + "once more " * 20 + "once mo", cut=True) == "Start. once more"


def test_rows_that_are_equal_are_no_circle_if_they_are_few() -> None:
    text = "total 0\n" * 4
    assert without_repeats(text) == text


def test_a_leader_of_dots_stands_unless_the_answer_was_cut_off() -> None:
    text = "Contents " + "." * 80
    assert without_repeats(text) == text
    assert without_repeats(text, cut=True) == "Contents ."


def test_repeats_in_the_middle_stand() -> None:
    text = "ha " * 40 + "and then it was over, for the keeper had closed the narrow book"
    assert without_repeats(text) == text


def test_a_table_has_rows_alike_unless_it_was_cut_off() -> None:
    form = "<fcel>Name<nl>" + "<ecel><nl>" * 20
    assert without_repeats(form, table=True) == form
    assert without_repeats(form, table=True, cut=True) == "<fcel>Name<nl><ecel>"


def test_nothing_stays_nothing() -> None:
    assert without_repeats("") == ""


@given(st.text(max_size=FEWEST_CHARACTERS - 1))
def test_short_answers_are_never_touched(text: str) -> None:
    assert without_repeats(text) == text


@given(st.text(max_size=120), st.booleans())
def test_what_is_kept_is_the_beginning(text: str, cut: bool) -> None:
    assert text.startswith(without_repeats(text, cut=cut))
