import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
import pytest
from papers import cer
from PIL import Image
from sheets import Sheet, sheets
from vl_server import Step, VLServer, prompt_of, served

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import Engine, Reading
from darkroom.pipelines.ocr.engines.rapid import Rapid, open_rapid
from darkroom.pipelines.ocr.engines.vl import VisionLanguage, as_math, lines_of_table, lines_of_text, open_vl
from darkroom.pipelines.ocr.page import Line, Region
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.structure.grid import bounds, covered
from darkroom.pipelines.ocr.structure.layout import open_layout
from darkroom.pipelines.ocr.vl.otsl import cells_of
from darkroom.pipelines.ocr.vl.server import Server

SHEET = sheets()[0]
REGIONS = (
    Region(kind="text", box=(110, 70, 1100, 170), score=0.9),
    Region(kind="table_caption", box=(110, 230, 600, 280), score=0.9),
    Region(kind="table", box=(110, 290, 930, 604), score=0.9),
    Region(kind="text", box=(110, 664, 1100, 760), score=0.9),
)
OTSL = "<fcel>Item<fcel>Price<nl><fcel>Oil lamp<fcel>14.50<nl>"


@dataclass(frozen=True)
class Told:
    """A layout that is told, so that each block is known."""

    regions: tuple[Region, ...] = REGIONS
    models: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, picture: Picture) -> tuple[Region, ...]:
        return self.regions


@dataclass
class Local:
    """A local engine that reads one line in the corner of whatever it is shown."""

    name: str = "rapidocr"
    version: str = "1"
    models: Mapping[str, str] = field(default_factory=lambda: {"rec.onnx": "00"})
    provider: str = "the test"
    warnings: tuple[str, ...] = ()
    seen: list[tuple[int, int]] = field(default_factory=list)

    def read(self, picture: Picture) -> Reading:
        self.seen.append((picture.width, picture.height))
        line = Line(text="read here", score=0.8, polygon=((1, 2), (50, 2), (50, 20), (1, 20)))
        return Reading(lines=(line,))


def reply(prompt: str, image: Image.Image) -> str:
    return OTSL if prompt == "Table Recognition:" else "The first line\nand the second"


@pytest.fixture
def server() -> Iterator[VLServer]:
    with served(VLServer(reply=reply)) as server:
        yield server


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def engine(server: VLServer, local: Engine | None = None, regions: tuple[Region, ...] = REGIONS) -> VisionLanguage:
    # One block at a time: the plan of the stand-in meets the blocks in their order.
    opened = open_vl(Server(url=server.url, parallel=1), Told(regions=regions), local)
    return replace(opened, client=replace(opened.client, sleep=at_once))


def test_a_page_is_read_region_by_region(server: VLServer) -> None:
    reading = engine(server).read(SHEET.picture)
    assert [prompt_of(question) for question in server.questions] == ["OCR:", "OCR:", "Table Recognition:", "OCR:"]
    assert reading.regions == REGIONS
    assert reading.warnings == ()
    assert [line.text for line in reading.lines if line.region == 0] == ["The first line", "and the second"]
    (table,) = reading.tables
    assert table.box == REGIONS[2].box
    assert table.html == "<table><tr><td>Item</td><td>Price</td></tr><tr><td>Oil lamp</td><td>14.50</td></tr></table>"


def test_each_line_lies_in_its_region(server: VLServer) -> None:
    reading = engine(server).read(SHEET.picture)
    assert len(reading.lines) == 3 * 2 + 4
    for line in reading.lines:
        assert line.region is not None and line.score is None
        assert covered(bounds([line.polygon]), REGIONS[line.region].box) == pytest.approx(1)


def test_the_model_is_asked_for_once_and_named(server: VLServer) -> None:
    vl = engine(server)
    vl.read(SHEET.picture)
    vl.read(SHEET.picture)
    assert server.asked.count("/v1/models") == 1
    assert (vl.name, vl.version) == ("vl", "PaddleOCR-VL-0.9B")
    assert vl.provider == f"the server {server.url.removesuffix('/v1')}"


@pytest.mark.parametrize("fault", [500, 429, "drop", "badjson"])
def test_a_passing_fault_leaves_no_trace_in_the_page(server: VLServer, fault: Step) -> None:
    vl = engine(server)
    whole = vl.read(SHEET.picture)
    server.plan = ["ok", fault, fault]
    assert vl.read(SHEET.picture) == whole


def test_a_block_that_fails_is_read_here_and_named(server: VLServer) -> None:
    local = Local()
    vl = engine(server, local)
    server.plan = ["ok", 413]
    reading = vl.read(SHEET.picture)
    (warning,) = reading.warnings
    assert warning.startswith("block 2 (table_caption): the server says 413: ")
    assert warning.endswith("; read by rapidocr instead")
    (line,) = (line for line in reading.lines if line.region == 1)
    assert (line.text, line.score) == ("read here", 0.8)
    assert line.polygon[0] == (110 - 4 + 1, 230 - 4 + 2), "where it is on the page"
    assert local.seen == [(490 + 8, 50 + 8)]
    assert len(reading.tables) == 1


def test_a_block_that_fails_without_a_local_engine_is_left_out_and_named(server: VLServer) -> None:
    vl = engine(server)
    server.plan = ["ok", "ok", 400]
    reading = vl.read(SHEET.picture)
    assert not reading.tables
    assert not [line for line in reading.lines if line.region == 2]
    assert reading.warnings[0].startswith("block 3 (table): ") and reading.warnings[0].endswith("; left out")


def test_a_page_of_which_nothing_could_be_read_waits(server: VLServer) -> None:
    vl = engine(server)
    server.always = 400
    with pytest.raises(Unavailable, match="no block of the page could be read: the server says 400") as refused:
        vl.read(SHEET.picture)
    assert not refused.value.patient, "it is there, and waiting changes nothing"


def test_a_page_of_which_nothing_could_be_read_there_is_read_here(server: VLServer) -> None:
    vl = engine(server, Local())
    server.always = 400
    reading = vl.read(SHEET.picture)
    assert [line.text for line in reading.lines] == ["read here"] * 4
    assert len(reading.warnings) == 4


def test_a_server_that_goes_away_makes_the_page_wait_even_with_a_local_engine() -> None:
    local = Local()
    with served(VLServer(reply=reply)) as server:
        vl = engine(server, local)
    with pytest.raises(Unavailable, match="does not answer") as away:
        vl.read(SHEET.picture)
    assert away.value.patient
    assert not local.seen


def test_a_server_that_is_being_restarted_makes_the_page_wait(server: VLServer) -> None:
    vl = engine(server, Local())
    server.always, server.not_ready = 503, 100
    with pytest.raises(Unavailable, match="not ready") as away:
        vl.read(SHEET.picture)
    assert away.value.patient


def test_a_truncated_answer_is_marked_and_named(server: VLServer) -> None:
    vl = engine(server)
    server.plan = ["length"]
    reading = vl.read(SHEET.picture)
    assert [line.truncated for line in reading.lines if line.region == 0] == [False, True]
    assert not any(line.truncated for line in reading.lines if line.region != 0)
    assert reading.warnings == ("block 1 (text): the answer was cut off",)


def test_an_empty_answer_is_no_line_and_no_fault(server: VLServer) -> None:
    vl = engine(server)
    server.plan = ["null", "ok", "null"]
    reading = vl.read(SHEET.picture)
    assert {line.region for line in reading.lines} == {1, 3}
    assert not reading.tables and not reading.warnings


def test_a_table_answered_in_prose_is_text() -> None:
    with served(VLServer()) as server:
        reading = engine(server).read(SHEET.picture)
    assert not reading.tables
    assert [line.text for line in reading.lines if line.region == 2] == ["Table Recognition: 828x322"]


def test_a_server_that_is_not_ready_yet_is_waited_for() -> None:
    with served(VLServer(not_ready=2)) as server:
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"not ready .*/health says 503"):
                engine(server)
        assert engine(server).version == "PaddleOCR-VL-0.9B"


def test_without_its_library_the_engine_says_how_to_get_it(server: VLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "darkroom.pipelines.ocr.vl.server", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(Unavailable, match=r"pip install 'darkroomd\[ocr-vl\]'"):
        engine(server)


def test_the_report_names_the_models_that_are_here(server: VLServer) -> None:
    assert engine(server, Local()).models == {"rec.onnx": "00"}
    assert engine(server).models == {}


def test_formulas_are_in_the_marks_of_markdown() -> None:
    assert as_math(r"\[ a^2 \] and \( b \)") == "$$ a^2 $$ and $ b $"
    assert as_math(r"\[\[ a \]\]") == "$$ a $$"


def test_lines_share_the_height_of_their_region() -> None:
    one, two = lines_of_text(3, "a\n\n b \n", (0, 0, 10, 20), truncated=False)
    assert bounds([one.polygon]) == (0, 0, 10, 10)
    assert bounds([two.polygon]) == (0, 10, 10, 20)
    assert (two.text, two.region) == ("b", 3)
    assert lines_of_text(0, " \n", (0, 0, 1, 1), truncated=True) == []


def test_cells_are_lines_where_they_stand_in_the_grid() -> None:
    lines = lines_of_table(0, cells_of("<fcel>wide<lcel><nl><ecel><fcel>b<nl>"), (0, 0, 40, 20), truncated=False)
    assert [(line.text, bounds([line.polygon])) for line in lines] == [
        ("wide", (0, 0, 40, 10)),
        ("b", (20, 10, 40, 20)),
    ]


@pytest.mark.parametrize("name", ["ruled", "chinese-borderless"])
def test_a_page_laid_out_by_the_real_model_is_shown_whole_and_once(name: str) -> None:
    sheet = next(sheet for sheet in sheets() if sheet.name == name)
    with served(VLServer(reply=reads_by(open_rapid(threads=2), sheet))) as server:
        reading = open_vl(Server(url=server.url), open_layout(threads=2)).read(sheet.picture)
    text = "".join(sorted("".join(line.text for line in reading.lines)))
    assert cer(text, "".join(sorted("".join(line.text for line in sheet.lines)))) == 0.0
    assert not reading.warnings


def reads_by(rapid: Rapid, sheet: Sheet) -> Callable[[str, Image.Image], str]:
    """Give a model that reads text by `rapid` and knows the table of `sheet` by heart."""
    lock = Lock()

    def reply(prompt: str, image: Image.Image) -> str:
        if prompt == "Table Recognition:":
            rows = {cell.row: "" for cell in sheet.cells}
            for cell in sheet.cells:
                rows[cell.row] += f"<fcel>{cell.text}"
            return "".join(f"{row}<nl>" for row in rows.values())
        with lock:
            found = rapid.read(Picture(rgb=np.array(image.convert("RGB")))).lines
        return "\n".join(line.text for line in sorted(found, key=lambda line: line.polygon[0][1]))

    return reply
