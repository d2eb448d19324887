from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import pytest

from darkroom.daemon.job import Job
from darkroom.daemon.names import LIMIT_BYTES, check_template, clean, fields_of, numbered, result_name


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("holiday", "holiday"),
        ("two\nlines\ttab", "two_lines_tab"),
        ("\x1b[31mred\x1b[0m", "_[31mred_[0m"),
        ('say "hi" <b>|?*:', "say _hi_ _b_____"),
        ("a/b\\c", "a_b_c"),
        ("-rf", "-rf"),  # harmless as a name; only a shell without -- would stumble
        (".hidden", "hidden"),
        ("trailing. . ", "trailing"),
        ("..", "untitled"),
        ("", "untitled"),
        ("CON", "_CON"),
        ("com1.backup", "_com1.backup"),
        ("lpt²", "_lpt²"),
        ("console", "console"),
        ("gpj\u202eexe", "gpj_exe"),  # would show as gpjexe turned around
        ("%n {edition-x} sample", "%n {edition-x} sample"),
        ("e\u0301 and \u00e9", "e\u0301 and \u00e9"),  # nothing is normalised
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
        ("lone \ud800 half", "lone _ half"),
    ],
)
def test_a_cleaned_name_is_safe_everywhere(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize("char", ["a", "é", "🎞"])
def test_a_long_name_is_cut_between_characters_and_keeps_its_suffix(char: str) -> None:
    name = clean(char * 255, ".mkv")
    assert name.endswith(f"{char}.mkv")
    assert LIMIT_BYTES - 6 <= len(name.encode()) <= LIMIT_BYTES


def test_a_cut_leaves_no_dot_or_space_at_the_end() -> None:
    assert clean("a" * 230 + " . " * 20) == "a" * 230


def test_invalid_utf8_stays_apart_and_printable() -> None:
    names = {result_name("{stem}", source, ".mkv", {}) for source in (b"a\xff.avi", b"a\xfe.avi")}
    assert names == {b"a%FF.mkv", b"a%FE.mkv"}


def test_the_tree_is_kept_cleaned_and_cannot_climb() -> None:
    source = b"films/../con/\x1b[2J/.a/holiday.1080p.avi"
    assert result_name("{stem}", source, ".mkv", {}) == b"films/untitled/_con/_[2J/a/holiday.1080p.mkv"
    assert result_name("{stem}", source, ".mkv", {}, keep_tree=False) == b"holiday.1080p.mkv"


def test_a_file_added_by_its_absolute_path_has_no_tree() -> None:
    assert result_name("{stem}", b"/srv/other/holiday.avi", ".mkv", {}) == b"holiday.mkv"


def test_a_template_takes_fields_of_the_job_and_of_the_pipeline() -> None:
    job = cast(Job, SimpleNamespace(id=7, folder="films"))
    made: dict[str, Any] = {"model": "photo", "scale": 2, "width": 3840, "height": 2160, "encoder": {"crf": 18}}
    fields = fields_of(job, made, date(2026, 3, 1))
    name = result_name("{stem} - {height}p {model} x{scale} {folder} {job} {date}", b"a.avi", ".mkv", fields)
    assert name == b"a - 2160p photo x2 films 7 2026-03-01.mkv"


def test_a_field_cannot_smuggle_a_folder_into_the_name() -> None:
    assert result_name("{stem} {model}", b"a.avi", ".mkv", {"model": "../../x"}) == b"a .._.._x.mkv"


def test_a_field_the_pipeline_does_not_report_comes_out_empty() -> None:
    assert result_name("{stem}{model}", b"a.avi", ".mkv", {}) == b"a.mkv"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{stem} {size}", "unknown field {size}"),
        ("{stem.__class__}", "unknown field"),
        ("{stem!r}", "without any format"),
        ("{job:>9}", "without any format"),
        ("{}", "unknown field {}"),
        ("{stem", "expected text with {fields}"),
        ("fixed", "name all results alike"),
        ("{folder}/{stem}", "names a folder"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused_with_the_reason(template: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace("{", r"\{").replace("}", r"\}")):
        check_template(template)


def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\{stem\} \{folder\} \{job\} \{date\} \{model\}"):
        check_template("{name}")


def test_a_good_template_is_returned() -> None:
    assert check_template("{stem} ({height}p)") == "{stem} ({height}p)"


def test_numbering_comes_before_the_suffix_and_stays_within_the_limit() -> None:
    assert numbered(b"a.mkv", 1) == b"a.mkv"
    assert numbered(b"a.mkv", 2) == b"a (2).mkv"
    long = numbered(clean("é" * 200, ".mkv").encode(), 12)
    assert len(long) <= LIMIT_BYTES
    assert long.decode().endswith("é (12).mkv")


def test_numbering_keeps_bytes_that_are_no_text() -> None:
    assert numbered(b"\xff.avi", 3, 255) == b"\xff (3).avi"
    assert len(numbered(b"\xff" * 255, 3, 255)) == 255
