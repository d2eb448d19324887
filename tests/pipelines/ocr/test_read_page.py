import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pikepdf
from documents import pdf, rectangle, scan, shown

from darkroom.pipelines.ocr.document import probe
from darkroom.pipelines.ocr.engines.base import Reading
from darkroom.pipelines.ocr.options import Options
from darkroom.pipelines.ocr.page import Line, Page, Region, Table
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.plan import EngineFacts, Engines, make_plan
from darkroom.pipelines.ocr.read_page import Reader, failed_page, read_page


@dataclass
class Says:
    """An engine that reads what it is told to, and keeps what it was shown."""

    reading: Reading
    seen: list[Picture] = field(default_factory=list)
    name: str = "says"
    version: str = "1"
    models: dict[str, str] = field(default_factory=dict)
    provider: str = "none"
    warnings: tuple[str, ...] = ()

    def read(self, picture: Picture) -> Reading:
        self.seen.append(picture)
        return self.reading


def line(text: str, left: float, top: float, right: float, bottom: float, tilt: float = 0) -> Line:
    return Line(text=text, score=0.99, polygon=rectangle(left, top, right, bottom, tilt))


def read(
    source: Path, *lines: Line, structure: object = None, regions: tuple[Region, ...] = (), **options: object
) -> Page:
    facts = probe(source)
    plan = make_plan(Options.model_validate(options), facts, Engines(reading=EngineFacts(name="says")))
    reader = Reader(engine=Says(Reading(lines=lines, regions=regions)), structure=structure)  # type: ignore[arg-type]
    return read_page(plan, plan.pages[0], plan.ways[0], reader)


def test_a_scan_is_read_in_the_order_of_people(tmp_path: Path) -> None:
    source = scan(tmp_path / "a.png")
    left, right = line("left", 100, 100, 400, 130), line("right", 600, 90, 900, 120)
    below = line("left below", 100, 140, 400, 170)
    columns = read(source, right, below, left, line("right below", 600, 130, 900, 160))
    assert [found.text for found in columns.lines] == ["left", "left below", "right", "right below"]
    assert (columns.source, columns.width, columns.height, round(columns.dpi)) == ("ocr", 1000, 1400, 150)


def test_a_digital_page_keeps_its_own_text_and_asks_no_engine(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [shown("its own words")])
    page = read(source, line("misread", 0, 0, 10, 10))
    assert [(found.text, found.own, found.score) for found in page.lines] == [("its own words", True, None)]
    assert page.source == "native"


def test_the_tilt_of_the_text_is_told_in_degrees(tmp_path: Path) -> None:
    page = read(scan(tmp_path / "a.png"), line("aslant", 100, 100, 700, 130, 3.0))
    assert math.isclose(page.skew, 3.0, abs_tol=0.01)


def test_a_damaged_page_says_so_and_is_empty(tmp_path: Path) -> None:
    facts = probe(scan(tmp_path / "a.png"))
    page = failed_page(facts, 0, "broken")
    assert (page.failed, page.lines, page.width) == ("broken", (), 1000)


def test_what_stands_on_a_stamped_scan_is_read_besides_the_stamp(tmp_path: Path) -> None:
    source = stamped(tmp_path / "a.pdf")
    stamp_again, text = line("RECE1VED", 208, 250, 500, 318), line("a letter", 200, 600, 500, 640)
    page = read(source, stamp_again, text, dpi=200)
    assert page.source == "mixed"
    assert [(found.text, found.own) for found in page.lines] == [("RECEIVED", True), ("a letter", False)]


def stamped(path: Path) -> Path:
    """A scan that fills its page, with a stamp of text."""
    pdf(path, [shown("RECEIVED", x=75, y=290)])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        leaf = document.pages[0]
        image = document.make_stream(bytes(np.full((400, 300), 255, np.uint8)))
        image.Type, image.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        image.Width, image.Height, image.BitsPerComponent = 300, 400, 8
        image.ColorSpace = pikepdf.Name.DeviceGray
        leaf.obj.Resources.XObject = pikepdf.Dictionary(Im0=image)
        leaf.contents_add(document.make_stream(b"q 300 0 0 400 0 0 cm /Im0 Do Q\n"), prepend=True)
        document.save(path)
    return path


def test_lines_know_the_smallest_region_they_lie_in_and_regions_come_in_reading_order(tmp_path: Path) -> None:
    whole = Region(kind="text", box=(0, 0, 1000, 1400))
    title = Region(kind="title", box=(90, 80, 500, 140))
    picture = Region(kind="figure", box=(600, 300, 900, 600))
    page = read(
        scan(tmp_path / "a.png"),
        line("prose", 100, 300, 500, 330),
        line("heading", 100, 100, 400, 130),
        regions=(whole, picture, title),
    )
    assert [found.text for found in page.lines] == ["heading", "prose"]
    assert [region.kind for region in page.regions] == ["title", "text", "figure"]
    assert [page.regions[found.region or 0].kind for found in page.lines] == ["title", "text"]


def test_tables_come_from_the_structure_reader_unless_the_engine_saw_them(tmp_path: Path) -> None:
    table = Table(box=(90, 80, 500, 400), html="<table></table>")

    def structure(picture: Picture, lines: object) -> tuple[tuple[Region, ...], tuple[Table, ...]]:
        return (Region(kind="table", box=table.box),), (table,)

    source = scan(tmp_path / "a.png")
    assert read(source, line("cell", 100, 100, 200, 130), structure=structure).tables == (table,)
    seen = (Region(kind="text", box=(0, 0, 1000, 1400)),)
    assert read(source, line("cell", 100, 100, 200, 130), structure=structure, regions=seen).tables == ()
