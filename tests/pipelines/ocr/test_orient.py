from dataclasses import dataclass, field

import pytest
from papers import CHINESE, ENGLISH, Paper, blank, cer, clean, downwards, skewed, turned

from darkroom.pipelines.ocr.engines.base import Reading
from darkroom.pipelines.ocr.engines.rapid import Rapid
from darkroom.pipelines.ocr.order import in_order
from darkroom.pipelines.ocr.orient import upright
from darkroom.pipelines.ocr.page import Line
from darkroom.pipelines.ocr.picture import Picture

FEW = "\n".join(ENGLISH.splitlines()[:4])
LATIN = clean(FEW, size=26)
HAN = clean("\n".join(CHINESE.splitlines()[:3]), name="song", size=34)
COLUMNS = downwards("\n".join(line[:14] for line in CHINESE.splitlines()[:4]))
PAPERS = {  # and the turns tried, and the largest share of wrong characters
    "latin": (LATIN, (90, 180, 270), 0.005),
    "latin, askew": (skewed(LATIN, 4), (90,), 0.005),
    "chinese": (HAN, (270,), 0.005),
    "chinese written downwards": (COLUMNS, (0, 180), 0.02),  # a comma at the foot of a column goes unseen
}


@pytest.mark.parametrize(("name", "degrees"), [(name, degrees) for name in PAPERS for degrees in PAPERS[name][1]])
def test_a_turned_page_is_turned_back_and_read(name: str, degrees: int, rapid: Rapid) -> None:
    original, _, bar = PAPERS[name]
    paper = turned(original, degrees)
    picture, rotation, reading = upright(paper.picture, rapid)
    assert (degrees + rotation) % 360 == 0
    assert (picture.width, picture.height) == original.image.size
    found = "\n".join(line.text for line in in_order(reading.lines, picture.width, picture.height))
    assert cer(found, paper.text) <= bar, found


@dataclass
class Counting:
    """An engine that counts what it is asked, and reads all alike."""

    lines: tuple[Line, ...]
    asked: list[Picture] = field(default_factory=list)
    name: str = "counting"
    version: str = "1"
    models: dict[str, str] = field(default_factory=dict)
    provider: str = "none"
    warnings: tuple[str, ...] = ()

    def read(self, picture: Picture) -> Reading:
        self.asked.append(picture)
        return Reading(lines=self.lines)


def row(text: str, score: float | None, width: float = 200, height: float = 20) -> Line:
    return Line(
        text=text, score=score, polygon=((10, 10), (10 + width, 10), (10 + width, 10 + height), (10, 10 + height))
    )


def asked(*lines: Line) -> tuple[int, int]:
    """How often an engine that finds `lines` is asked, and how far the page is turned."""
    engine = Counting(lines=lines)
    picture, rotation, reading = upright(Paper(image=blank(300, 300), text="").picture, engine)
    assert picture is engine.asked[0]
    assert reading.lines == lines
    return len(engine.asked), rotation


def test_a_page_that_reads_well_is_read_once() -> None:
    assert asked(row("clear enough", 0.97)) == (1, 0)


def test_an_empty_page_is_read_once() -> None:
    assert asked() == (1, 0)


def test_an_engine_that_does_not_say_how_sure_it_is_is_asked_once() -> None:
    assert asked(row("text of a server", None)) == (1, 0)


def test_a_page_that_reads_no_better_the_other_way_stays_as_it_is() -> None:
    assert asked(row("scrawl", 0.5)) == (3, 0)
    assert asked(row("fence", 0.5, 20, 200)) == (3, 0)


def test_tall_single_characters_are_no_sign_of_a_turned_page() -> None:
    assert asked(row("I", 0.99, 8, 30), row("1", 0.99, 8, 30)) == (1, 0)
