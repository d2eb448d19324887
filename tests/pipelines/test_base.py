from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.pipelines.base import Plan, Segment, fingerprint, split


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmPlan(Plan):
    source: Path
    rate: Fraction


def film(**changes: object) -> FilmPlan:
    fields: dict[str, object] = {
        "unit": "frame",
        "segments": split(10, 5),
        "part_suffix": ".mp4",
        "result_suffix": ".mkv",
        "source": Path("a.mkv"),
        "rate": Fraction(25),
    }
    return FilmPlan(**(fields | changes))  # type: ignore[arg-type]


@given(units=st.integers(1, 10_000), size=st.integers(1, 500))
def test_segments_cover_every_unit_once_in_order(units: int, size: int) -> None:
    segments = split(units, size)
    assert segments[0].start == 0
    assert segments[-1].stop == units
    assert all(a.stop == b.start for a, b in pairwise(segments))
    assert [segment.index for segment in segments] == list(range(len(segments)))


@given(units=st.integers(1, 10_000), size=st.integers(1, 500))
def test_no_segment_is_short_and_none_twice_as_long(units: int, size: int) -> None:
    lengths = [segment.length for segment in split(units, size)]
    assert min(lengths) >= min(size, units)
    assert max(lengths) < 2 * size or len(lengths) == 1
    assert max(lengths) - min(lengths) <= 1


def test_a_plan_counts_the_units_of_its_segments() -> None:
    assert film().units == 10


def test_equal_plans_have_one_fingerprint_and_it_is_a_plain_name() -> None:
    assert fingerprint("upscale", film()) == fingerprint("upscale", film())
    assert len(fingerprint("upscale", film())) == 16
    assert fingerprint("upscale", film()).isalnum()


@pytest.mark.parametrize(
    "changes",
    [
        {"source": Path("b.mkv")},
        {"rate": Fraction(24)},
        {"segments": (Segment(0, 0, 10),)},
        {"part_suffix": ".mkv"},
    ],
)
def test_any_change_of_a_plan_changes_its_fingerprint(changes: dict[str, object]) -> None:
    assert fingerprint("upscale", film(**changes)) != fingerprint("upscale", film())


def test_the_same_plan_of_another_pipeline_has_another_fingerprint() -> None:
    assert fingerprint("upscale", film()) != fingerprint("animate", film())


def test_a_source_whose_name_is_not_text_has_a_fingerprint() -> None:
    assert fingerprint("upscale", film(source=Path("\udcff.mkv")))


def test_words_about_a_plan_are_no_part_of_it() -> None:
    assert film(why="auto: no weights") == film()
    assert fingerprint("upscale", film(why="auto: no weights")) == fingerprint("upscale", film())
    assert film(why="auto: no weights").what == "auto: no weights"
