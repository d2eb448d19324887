"""What the program tesseract reads of pages whose text is known; its faults are those of a program that stands in."""

import os
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from papers import CHINESE, ENGLISH, GERMAN, Paper, cer, clean, faxed, skewed, turned, two_columns
from patience import patiently

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.tesseract import Tesseract, joined, lines_of, open_tesseract, pnm
from darkroom.pipelines.ocr.order import in_order, line_box
from darkroom.pipelines.ocr.orient import upright
from darkroom.pipelines.ocr.picture import Picture

PAPERS = {
    "english": (clean(ENGLISH), "eng", 0.005),
    "german": (clean(GERMAN), "deu", 0.005),
    "german, faxed": (faxed(clean(GERMAN)), "deu", 0.02),
    "german, askew": (skewed(clean(GERMAN), -2), "deu", 0.005),
    "english, taken for empty at first": (skewed(clean(ENGLISH), 3), "eng", 0.01),
    "chinese": (clean(CHINESE, name="song", size=36), "chi_sim", 0.03),
    "two columns": (two_columns(), "eng", 0.01),
}

PROGRAM = """#!/bin/sh
case "$*" in
*--version*) echo "tesseract ${VERSION:-5.9.1}" ;;
*--list-langs*) echo 'List of available languages in "@" (2):'; echo eng; echo osd ;;
*)
    echo "$OMP_THREAD_LIMIT $*" >> @/asked
    [ -e @/fault ] && . @/fault
    cat > @/picture
    cat @/answer
    ;;
esac
"""
ANSWER = """<?xml version="1.0" encoding="UTF-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body>
<span class="ocr_header" title="bbox 10 20 110 60; baseline 0.1 -4; x_size 30">
<span class="ocrx_word" title="bbox 10 20 50 44; x_wconf 90">One</span>
<span class="ocrx_word" title="bbox 60 24 110 50; x_wconf 60"><strong>&amp; two</strong></span>
<span class="ocrx_word" title="bbox 60 24 110 50; x_wconf 95"> </span>
</span>
<span class="ocr_line" title="bbox 0 0 500 500"></span>
</body></html>"""


@cache
def installed() -> frozenset[str]:
    """Give the languages of the real program, none if it is not there."""
    if shutil.which("tesseract") is None:
        return frozenset()
    said = patiently(["tesseract", "--list-langs"], check=True)
    return frozenset(said.stdout.splitlines()[1:])


@cache
def real(lang: str) -> Tesseract:
    """Give the engine on the real program; skip where it is not there."""
    if lang not in installed():
        pytest.skip(f"the program tesseract with its language {lang} is not installed")
    return open_tesseract(lang=lang)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Give a program that answers ANSWER, unless the file `fault` beside it does something else first."""
    path = tmp_path / "tesseract"
    path.write_text(PROGRAM.replace("@", str(tmp_path)))
    path.chmod(0o755)
    (tmp_path / "answer").write_text(ANSWER)
    (tmp_path / "eng.traineddata").write_bytes(b"weights")
    return path


def opened(program: Path, **settings: float) -> Tesseract:
    return open_tesseract(program=str(program), **settings)  # type: ignore[arg-type]


def white(dpi: float = 0.0) -> Picture:
    return Picture(rgb=np.full((40, 60, 3), 255, np.uint8), dpi=dpi)


def text_of(engine: Tesseract, paper: Paper) -> str:
    picture = paper.picture
    lines = in_order(engine.read(picture).lines, picture.width, picture.height)
    return "\n".join(line.text for line in lines)


@pytest.mark.parametrize("name", PAPERS)
def test_a_page_is_read(name: str) -> None:
    paper, lang, bar = PAPERS[name]
    found = text_of(real(lang), paper)
    assert cer(found, paper.text) <= bar, found
    if lang != "chi_sim":
        assert cer(found, paper.text, spaces=True) <= bar, "spaces between words are lost"


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_page_that_lies_otherwise_is_found_out_by_reading_it(degrees: int) -> None:
    paper = turned(clean(GERMAN), degrees)
    _picture, rotation, reading = upright(paper.picture, real("deu"))
    assert rotation == 360 - degrees
    assert cer("\n".join(line.text for line in reading.lines), paper.text) <= 0.005


def test_lines_lean_as_the_page_does_and_hold_their_words() -> None:
    (line,) = real("eng").read(skewed(clean("A line that leans on the page a little to the right"), 2).picture).lines
    (left, top), (right, end), _, (_, bottom) = line.polygon
    assert (end - top) / (right - left) == pytest.approx(np.tan(np.radians(2)), abs=0.006)
    assert bottom - top < 40, "as high as the writing, not as the box around it"
    assert [word.text for word in line.words] == line.text.split()
    middles = [sum(x for x, _y in word.polygon) / 4 for word in line.words]
    assert middles == sorted(middles)
    assert line_box(line)[0] <= middles[0] < middles[-1] <= line_box(line)[2]


def test_an_empty_page_has_no_lines() -> None:
    assert real("eng").read(clean("").picture).lines == ()


def test_the_engine_says_what_it_is() -> None:
    engine = real("deu")
    assert engine.name == "tesseract"
    assert engine.version.startswith("5.")
    assert engine.provider == f"tesseract {engine.version} CPU"
    assert {*engine.models} == {"deu.traineddata"}
    assert engine.warnings == ()


def test_languages_are_combined() -> None:
    if not {"deu", "eng"} <= installed():
        pytest.skip("the program tesseract with its languages deu and eng is not installed")
    engine = open_tesseract(lang="deu+eng")
    assert {*engine.models} == {"deu.traineddata", "eng.traineddata"}
    assert text_of(engine, clean("Grüße from here")) == "Grüße from here"


def test_own_models_are_read_from_their_folder(tmp_path: Path) -> None:
    models = real("eng").models
    said = patiently(["tesseract", "--list-langs"], check=True).stdout
    (tmp_path / "mine.traineddata").symlink_to(Path(said.split('"')[1]) / "eng.traineddata")
    engine = open_tesseract(lang="mine", tessdata=tmp_path)
    assert engine.models == {"mine.traineddata": models["eng.traineddata"]}
    assert text_of(engine, clean("One line")) == "One line"


def test_a_damaged_language_is_the_machines_fault_and_found_before_the_first_page(tmp_path: Path) -> None:
    real("eng")
    (tmp_path / "eng.traineddata").write_bytes(b"nothing of the kind")
    with pytest.raises(Unavailable, match="tesseract: failed "):
        open_tesseract(lang="eng", tessdata=tmp_path)


def test_a_missing_program_is_told_with_the_way_to_install_it() -> None:
    with pytest.raises(Unavailable, match="no-such-tesseract: the program is not installed; apt install"):
        open_tesseract(program="no-such-tesseract")


@pytest.mark.parametrize("lang", ["tlh", "eng+tlh", "eng;touch x", "../eng", ""])
def test_a_missing_language_is_named_with_those_that_are_there(lang: str, program: Path) -> None:
    if lang:
        with pytest.raises(Unavailable, match=r"no language .* there are: eng; set lang .* apt install tesseract-ocr-"):
            open_tesseract(lang=lang, program=str(program))
    else:
        assert open_tesseract(lang=lang, program=str(program)).command[1:] == ("-l", "eng")


def test_a_language_left_to_the_program_is_told_where_there_are_others(program: Path) -> None:
    assert opened(program).warnings == ()
    program.write_text(program.read_text().replace("echo osd", "echo osd; echo deu"))
    (warning,) = opened(program).warnings
    assert warning == "lang: not set, so pages are read as eng; installed are deu too"


@pytest.mark.parametrize(("version", "told"), [("4.1.1", "version 4.1.1, needed is 5"), ("?", "not tesseract")])
def test_an_old_program_is_refused(version: str, told: str, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERSION", version)
    with pytest.raises(Unavailable, match=told):
        opened(program)


def test_the_program_is_told_the_resolution_and_to_keep_to_its_threads(program: Path) -> None:
    engine = opened(program)
    for picture in (white(150.4), white(), white(9000)):
        engine.read(picture)
    trial, *asked = (program.parent / "asked").read_text().splitlines()
    assert trial.startswith("1 -l eng - - --psm 6 ")
    assert [line.partition(" -c ")[0] for line in asked] == [
        "1 -l eng - - --psm 3 --dpi 150",
        "1 -l eng - - --psm 3",
        "1 -l eng - - --psm 3",
    ]
    replace(engine, threads=4).read(white())
    assert (program.parent / "asked").read_text().splitlines()[-1].startswith("4 ")


def test_the_program_is_handed_the_pixels(program: Path) -> None:
    picture = clean("Grüße").picture
    opened(program).read(picture)
    assert (program.parent / "picture").read_bytes() == pnm(picture)
    assert pnm(white()).startswith(b"P6 60 40 255\n\xff\xff")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("kill -SEGV $$", "failed .ended by SIGSEGV"),
        ("echo 'out of memory' >&2; exit 3", "failed .out of memory"),
        ("exit 3", "failed .status 3"),
        ("cat > /dev/null; echo 'A line of text'; exit 0", "its answer is not hOCR"),
        ("cat > /dev/null; exit 0", "its answer is not hOCR"),
        ("sed s/bbox/box/ @/answer; exit 0", "its answer is not hOCR"),
        ("sed s/20/twenty/ @/answer; exit 0", "its answer is not hOCR"),
        ("exec sleep 600", "not done within 0.5 s, so it was ended"),
    ],
)
def test_a_page_the_program_fails_on_is_told_with_the_cause(fault: str, told: str, program: Path) -> None:
    engine = replace(opened(program), timeout_s=0.5 if "sleep" in fault else 60.0)
    (program.parent / "fault").write_text(fault.replace("@", str(program.parent)))
    with pytest.raises(RuntimeError, match=told):
        engine.read(white())


def test_a_program_that_cannot_be_run_is_the_machines_fault(program: Path) -> None:
    program.write_text("#!/no/such/shell\n")
    with pytest.raises(Unavailable, match="cannot be run"):
        opened(program)
    assert os.access(program, os.X_OK)


def test_hocr_becomes_lines_with_the_mean_of_what_the_program_is_sure_of() -> None:
    (line,) = lines_of(ANSWER.encode())
    assert line.text == "One & two"
    assert line.score == pytest.approx((3 * 0.9 + 5 * 0.6) / 8, abs=1e-4)
    assert line.polygon == ((10, 20), (110, 30), (110, 60), (10, 50))
    assert [word.text for word in line.words] == ["One", "& two"]


def test_ideographs_are_joined_and_words_are_not() -> None:
    assert joined(["清晨", "的", "市场", "，"]) == "清晨的市场，"
    assert joined(["第", "3", "章"]) == "第 3 章"
    assert joined(["One", "two"]) == "One two"
    assert joined(["One"]) == "One"
    assert joined([]) == ""
