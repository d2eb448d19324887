"""The engine tesseract: the program of that name, run on each picture; cheap, and good at clean Latin print

It answers in hOCR and not in TSV, for that alone says how far a line is tilted.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import Reading, digests
from darkroom.pipelines.ocr.page import Line, Polygon, Word
from darkroom.pipelines.ocr.picture import Picture

DEFAULT = "eng"  # the program's own
INSTALL = "apt install tesseract-ocr, or set engine: rapidocr"
OLDEST = 5  # major version: the one that says where its models are, and that this was tried with
LIKELY_DPI = range(70, 2401)  # what the program takes
LAYOUT, ONE_BLOCK = 3, 6  # its page segmentation modes
SPAN = "{http://www.w3.org/1999/xhtml}span"
IDEOGRAPHIC = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")  # written without spaces
QUICK_S = 30.0  # for what takes it no time


@dataclass(frozen=True, slots=True, kw_only=True)
class Tesseract:
    """The program, with its languages there."""

    name: str
    version: str
    models: Mapping[str, str]
    provider: str
    warnings: tuple[str, ...]
    command: tuple[str, ...]  # program and languages
    threads: int
    timeout_s: float

    def read(self, picture: Picture) -> Reading:
        """Give the lines of `picture`, with their words.

        Raises RuntimeError if the program fails on it, or is not done in time: it is ended then.
        """
        # Not mode 1, which turns the page by itself: the caller finds out which way is up by what reads badly.
        # The layout of mode 3 takes some crooked pages, full of text, for empty; as one block they are read well.
        try:
            return Reading(lines=self._lines(picture, LAYOUT) or self._lines(picture, ONE_BLOCK))
        except Unavailable as error:  # it came up well: what it cannot get past is this page
            raise RuntimeError(str(error)) from error

    def _lines(self, picture: Picture, mode: int) -> tuple[Line, ...]:
        hocr = self._hocr(picture, mode)
        try:
            return lines_of(hocr)
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            raise Unavailable(f"{self.command[0]}: its answer is not hOCR ({error}); {INSTALL}") from error

    def _hocr(self, picture: Picture, mode: int) -> bytes:
        dpi = round(picture.dpi)
        command = (
            *(*self.command, "-", "-", "--psm", str(mode)),
            *(("--dpi", str(dpi)) if dpi in LIKELY_DPI else ()),
            *("-c", "tessedit_create_hocr=1"),  # the config file "hocr" is not in every folder of models
        )
        return _run(command, self.timeout_s, threads=self.threads, given=pnm(picture)).stdout


def open_tesseract(
    *,
    lang: str = "",
    tessdata: Path | None = None,
    threads: int = 1,
    timeout_s: float = 300.0,
    program: str = "tesseract",
) -> Tesseract:
    """Give the engine once its program has shown that it can load its languages.

    lang:      as the program names them: "deu", "deu+eng", "script/Latin"; "": English
    tessdata:  folder of *.traineddata; None: the program's own
    threads:   more than one make it slower (measured on 2 cores: 0.4 s a page with one, 0.7 s with two)
    timeout_s: for one picture

    Raises Unavailable if the program or a language is missing, too old or damaged.
    """
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{program}: the program is not installed; {INSTALL}")
    version = _version(path)
    where = ("--tessdata-dir", str(tessdata)) if tessdata else ()
    folder, installed = _installed((path, *where, "--list-langs"))
    wanted = (lang or DEFAULT).split("+")
    _check(wanted, folder, installed)
    others = [language for language in installed if language not in (DEFAULT, "osd")]
    unset = f"lang: not set, so pages are read as {DEFAULT}; installed are {', '.join(others)} too"
    engine = Tesseract(
        name="tesseract",
        version=version,
        models=digests(folder / f"{language}.traineddata" for language in wanted),
        provider=f"tesseract {version} CPU",
        warnings=(unset,) if others and not lang else (),
        command=(path, *where, "-l", "+".join(wanted)),
        threads=threads,
        timeout_s=timeout_s,
    )
    engine._lines(Picture(rgb=np.full((32, 32, 3), 255, np.uint8)), ONE_BLOCK)
    return engine


def lines_of(hocr: bytes) -> tuple[Line, ...]:
    """Give the lines in `hocr`. Raises ParseError, LookupError or ValueError where it is none."""
    elements = ElementTree.fromstring(hocr).iter(SPAN)
    return tuple(line for element in elements if (line := _line(element)))


def pnm(picture: Picture) -> bytes:
    """Give `picture` as a file that takes no time to write and needs no codec: a PPM."""
    return f"P6 {picture.width} {picture.height} 255\n".encode() + picture.rgb.tobytes()


def joined(words: Iterable[str]) -> str:
    """Give `words` as a line: with spaces, but between ideographs, of which most are words of their own."""
    line = ""
    for word in words:
        apart = line and not (IDEOGRAPHIC.match(line[-1]) and IDEOGRAPHIC.match(word))
        line += f" {word}" if apart else word
    return line


def _line(element: ElementTree.Element) -> Line | None:
    spans = (span for span in element.findall(SPAN) if span.get("class") == "ocrx_word")
    words = [(text, _properties(span)) for span in spans if (text := "".join(span.itertext()).strip())]
    if not words:
        return None
    about = _properties(element)
    slope = about.get("baseline", [0.0])[0]
    sure = sum(len(text) * said["x_wconf"][0] for text, said in words) / sum(len(text) for text, _ in words) / 100
    return Line(
        text=joined(text for text, _ in words),
        score=round(min(1.0, max(0.0, sure)), 4),
        polygon=_polygon(about["bbox"], slope),
        words=tuple(Word(text=text, polygon=_polygon(said["bbox"], slope)) for text, said in words),
    )


def _properties(element: ElementTree.Element) -> dict[str, list[float]]:
    """Give what the title of `element` says: "bbox 10 10 90 40; x_wconf 96"."""
    parts = (part.split() for part in element.get("title", "").split(";"))
    return {name: [float(value) for value in values] for name, *values in parts}


def _polygon(box: Sequence[float], slope: float) -> Polygon:
    """Give the parallelogram that leans by `slope` and fills `box`, which of a tilted line holds its neighbours too."""
    left, top, right, bottom = box
    rise = round(slope * (right - left), 1)
    if abs(rise) >= bottom - top:  # the slope is not of this box
        rise = 0.0
    down, up = max(0.0, rise), max(0.0, -rise)
    return (left, top + up), (right, top + down), (right, bottom - up), (left, bottom - down)


def _version(path: str) -> str:
    said = _run((path, "--version"), QUICK_S)
    found = re.search(r"tesseract v?((\d+)[\w.+-]*)", (said.stdout + said.stderr).decode(errors="replace"))
    if not found or int(found[2]) < OLDEST:
        what = f"version {found[1]}" if found else "not tesseract"
        raise Unavailable(f"{path}: {what}, needed is {OLDEST} or later; {INSTALL}")
    return found[1]


def _installed(command: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Give the folder of the models and the languages in it."""
    head, *languages = _run(command, QUICK_S).stdout.decode(errors="replace").splitlines() or [""]
    folder = re.search(r'"(.*)"', head)
    if not folder:
        raise Unavailable(f"{command[0]}: does not say where its languages are; {INSTALL}")
    return Path(folder[1]), tuple(language.strip() for language in languages)


def _check(wanted: Sequence[str], folder: Path, installed: Sequence[str]) -> None:
    if missing := [language for language in wanted if language not in installed]:
        there = ", ".join(language for language in installed if language != "osd") or "none"
        raise Unavailable(
            f"tesseract: no language {missing[0]!r} in {folder}, there are: {there}; "
            f"set lang to one of these, or apt install tesseract-ocr-{missing[0].replace('_', '-')}"
        )


def _run(
    command: Sequence[str], timeout_s: float, *, threads: int = 1, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    # OpenMP's threads wait for each other by spinning: on a busy machine a page took 70 s, and 0.4 s with one.
    environment: dict[str, Any] = {**os.environ, "OMP_THREAD_LIMIT": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=timeout_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]}: not done within {timeout_s:g} s, so it was ended; {INSTALL}") from error
    except OSError as error:
        raise Unavailable(f"{command[0]}: cannot be run ({error.strerror}); {INSTALL}") from error
    if done.returncode:
        raise Unavailable(f"{command[0]}: failed ({_cause(done)}); {INSTALL}")
    return done


def _cause(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"ended by {signal.Signals(-done.returncode).name}"
    said = done.stderr.decode(errors="replace").splitlines()
    return next((line.strip() for line in said if line.strip()), f"status {done.returncode}")
