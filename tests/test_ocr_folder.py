"""A folder of documents of all kinds and conditions, through the whole daemon."""

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deadly
import numpy as np
import pikepdf
import pytest
from documents import pdf, pdftotext, said, shown
from house import House
from papers import printed, turned
from pikepdf import Array, Dictionary, Name
from PIL import Image

Write = Callable[[Path], object]
OPTIONS = {"outputs": ["pdf", "txt", "json"]}
DPI = (200, 200)


def paper(words: str) -> Image.Image:
    """A small sheet with `words` on it."""
    return printed(words, 14).image


def image(words: str, mode: str = "RGB", **saving: Any) -> Write:
    """A scan in the format of the suffix and the colours of `mode`."""
    return lambda path: paper(words).convert(mode).save(path, **{"dpi": DPI} | saving)


def frames(*pages: str, mode: str = "RGB", **saving: Any) -> Write:
    """A file of several pictures: a TIFF, a GIF, a PDF of scans."""
    pictures = [paper(words).convert(mode) for words in pages]
    return lambda path: pictures[0].save(path, save_all=True, append_images=pictures[1:], **{"dpi": DPI} | saving)


def sixteen(words: str) -> Write:
    """A scan of which 12 of 16 bits are used."""
    gray = np.array(paper(words).convert("L"), dtype=np.uint16) * 16
    return lambda path: Image.fromarray(gray).save(path)


def glass(words: str) -> Write:
    """White text on nothing."""
    ink = 255 - np.array(paper(words).convert("L"))
    return lambda path: Image.fromarray(np.dstack([np.full_like(ink, 255)] * 3 + [ink]), "RGBA").save(path)


def photo(words: str) -> Write:
    """A picture of a camera held upright, whose pixels lie on their side."""
    exif = Image.Exif()
    exif[0x112] = 6
    return lambda path: turned(printed(words, 14), 270).image.save(path, exif=exif)


def data(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def changed(write: Write, change: Callable[[pikepdf.Pdf], object]) -> Write:
    """A PDF that `write` makes, then `change` changes."""

    def write_changed(path: Path) -> None:
        write(path)
        with pikepdf.open(path, allow_overwriting_input=True) as document:
            change(document)
            document.save(path)

    return write_changed


def cut(write: Write, stop: int) -> Write:
    """What `write` makes, but for its end."""

    def write_cut(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:stop])

    return write_cut


def digital(*pages: str, **how: Any) -> Write:
    return lambda path: pdf(path, [shown(words) for words in pages], **how)


def layered(*contents: str) -> Callable[[pikepdf.Pdf], None]:
    """Lay `contents` over the first page."""

    def change(document: pikepdf.Pdf) -> None:
        page = document.pages[0]
        page.obj.Resources.Font = Dictionary(F1=Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
        for content in contents:
            page.contents_add(content.encode())

    return change


def break_second(document: pikepdf.Pdf) -> None:
    document.Root.Pages.Kids[1] = document.make_indirect(Dictionary(Type=Name.Nothing))


def sign(document: pikepdf.Pdf) -> None:
    signature = Dictionary(Type=Name.Sig, Filter=Name("/Adobe.PPKLite"), Contents=b"x")
    field = document.make_indirect(Dictionary(FT=Name.Sig, T=b"s", V=signature))
    document.Root.AcroForm = Dictionary(Fields=[field], SigFlags=3)


def annotate(kind: Name, words: str) -> Callable[[pikepdf.Pdf], None]:
    """Put `words` on the first page as a note, or in the field of a form."""

    def change(document: pikepdf.Pdf) -> None:
        look = document.make_stream(b"BT /F1 20 Tf 4 10 Td (%s) Tj ET" % words.encode())
        look.Type, look.Subtype, look.BBox = Name.XObject, Name.Form, Array([0, 0, 200, 40])
        look.Resources = Dictionary(Font=document.pages[0].obj.Resources.Font)
        note = Dictionary(Type=Name.Annot, Subtype=kind, F=4, Rect=Array([50, 200, 250, 240]), AP=Dictionary(N=look))
        if kind == Name.Widget:
            note.FT, note.T, note.V = Name.Tx, "t", words
            document.Root.AcroForm = Dictionary(Fields=[])
        document.pages[0].obj.Annots = Array([note := document.make_indirect(note)])
        if kind == Name.Widget:
            document.Root.AcroForm.Fields = Array([note])

    return change


@dataclass(frozen=True, kw_only=True)
class Case:
    """A document and how it ends."""

    write: Write
    pages: Sequence[str] = ()  # words of each
    refused: str = ""  # what the reason says
    kept: bool = False  # the PDF comes out as it went in
    lacks: str = ""  # what is said to be missing
    warning: str = ""


def done(write: Write, *pages: str, **how: Any) -> Case:
    return Case(write=write, pages=pages, **how)


def refused(write: Write, reason: str) -> Case:
    return Case(write=write, refused=reason)


THREE = frames("first leaf", "second leaf", "third leaf")
BAG = {
    "plain.png": done(image("Lantern 4711"), "Lantern 4711"),
    "SHOUTED.JPG": done(image("Harbour 1893"), "Harbour 1893"),
    "progressive.jpg": done(image("Copper nails", progressive=True), "Copper nails"),
    "gray.jpeg": done(image("Oil lamp", "L"), "Oil lamp"),
    "cmyk.jpg": done(image("Sailcloth 12", "CMYK"), "Sailcloth 12"),
    "sixteen.png": done(sixteen("Deep waters"), "Deep waters"),
    "sixteen.tif": done(sixteen("Deeper still"), "Deeper still"),
    "palette.png": done(image("Few colours", "P"), "Few colours"),
    "glass.png": done(glass("Written on glass"), "Written on glass"),
    "halfway.webp": done(image("Soft paper"), "Soft paper"),
    "old.bmp": done(image("Raw pixels"), "Raw pixels"),
    "gray.pgm": done(lambda path: paper("Portable gray").convert("L").save(path), "Portable gray"),
    "wave.jp2": done(lambda path: paper("Wavelets too").save(path), "Wavelets too"),
    "fax.tif": done(frames("Fax one", "Fax two", mode="1", compression="group4"), "Fax one", "Fax two"),
    "frames.tiff": done(THREE, "first leaf", "second leaf", "third leaf"),
    "moving.gif": done(frames("Frame zero", "Frame one"), "Frame zero"),
    "photo.jpg": done(photo("Held upright"), "Held upright"),
    "dark.png": done(lambda path: Image.eval(paper("Night shift"), lambda v: 255 - v).save(path), "Night shift"),
    "tiny.png": done(lambda path: Image.new("RGB", (1, 1)).save(path), ""),
    "blank.tif": done(lambda path: Image.new("1", (800, 1000), 1).save(path), ""),
    "huge.pdf": done(lambda path: paper("Wall map").save(path, resolution=paper("Wall map").width / 116), "Wall map"),
    "scans.pdf": done(frames("Sheet one", "Sheet two", resolution=200), "Sheet one", "Sheet two"),
    "digital.pdf": done(digital("born digital", "twice"), "born digital", "twice", kept=True),
    "thirty.pdf": done(digital(*map(str, range(30))), *map(str, range(30)), kept=True),
    "turned.pdf": done(digital("on its side", rotate=90), "on its side", kept=True),
    "cropped.pdf": done(digital("cut to size", crop=(0, 100, 300, 400)), "cut to size", kept=True),
    "read before.pdf": done(
        changed(frames("Seen words", resolution=200), layered(shown("hidden words", 10, 20, 8, mode=3))),
        "hidden words",
        kept=True,
    ),
    "stamped.pdf": done(
        changed(frames("Seen words", resolution=200), layered(shown("Copy 7", 10, 5, 8))), "Seen words Copy 7"
    ),
    "form.pdf": done(changed(digital(""), annotate(Name.Widget, "Filled in")), "Filled in"),
    "note.pdf": done(changed(digital(""), annotate(Name.FreeText, "Remark")), "Remark"),
    "signed.pdf": done(changed(digital("agreed"), sign), "agreed", kept=True, warning="signed"),
    "open.pdf": done(digital("for all", encryption=pikepdf.Encryption(owner="secret", user="")), "for all", kept=True),
    "one bad page.pdf": done(
        changed(digital("first", "broken", "third"), break_second), "first", "", "third", kept=True, lacks="page 2"
    ),
    "pdf inside.jpg": done(digital("in disguise"), "in disguise", kept=True),
    "jpeg inside.pdf": done(lambda path: paper("The other way").save(path, "JPEG"), "The other way"),
    "cut short.pdf": done(cut(digital("mended"), -20), "mended", kept=True),
    'it\'s "quoted" $HOME;.png': done(image("Quotes"), "Quotes"),
    "new\nline.png": done(image("New line"), "New line"),
    "Übergröße 图.png": done(image("Umlauts"), "Umlauts"),
    "scan.png": done(image("Picture"), "Picture"),
    "scan.pdf": done(digital("Document"), "Document", kept=True),
    "locked.pdf": refused(digital("x", encryption=pikepdf.Encryption(owner="o", user="u")), "encrypted"),
    "ruined.pdf": refused(data(b"%PDF-1.7\n" + bytes(500)), "damaged"),
    "bare.pdf": refused(lambda path: pikepdf.Pdf.new().save(path), "no pages"),
    "letter.pdf": refused(data(b"Dear Sir or Madam"), "neither a PDF nor an image"),
    "torn.png": refused(cut(image("Torn off here"), 900), "truncated"),
    "film.jpg": refused(data(b"\0\0\0\x18ftypmp42" + bytes(500)), "neither a PDF nor an image"),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house in which the whole bag was dropped at once, and worked off."""
    house = House(tmp_path_factory.mktemp("bag") / "house", pipeline="ocr", options=OPTIONS)
    for name, case in BAG.items():
        case.write(house.inbox / name)
    THREE(house.inbox / "ranged.tif")
    (house.inbox / "ranged.tif.yaml").write_text("pages: 2-\noutputs: [txt]\n")
    (house.inbox / "empty.pdf").touch()
    (house.inbox / "readme.txt").write_text("not a document of this folder\n")
    assert house.drain() == 3, house.lines  # a job was refused
    return house


@pytest.fixture(scope="module")
def jobs(house: House) -> dict[str, dict[str, Any]]:
    """What the journal says of each file."""
    return {job["path"]: job for job in json.loads(house.command("jobs", "--json", "--limit", "100").stdout)}


@pytest.mark.parametrize("name", [name for name, case in BAG.items() if not case.refused])
def test_a_document_comes_out_as_text_and_searchable(name: str, house: House, jobs: dict[str, dict[str, Any]]) -> None:
    case, job = BAG[name], jobs[name]
    assert job["state"] == "done", job["reason"]
    result = house.outbox / job["result"]
    assert result.suffix == ".pdf"
    text = result.with_suffix(".txt").read_text()
    assert said(text) == [words.split() for words in case.pages]
    told = json.loads(result.with_suffix(".json").read_bytes())
    assert [[word for line in page["lines"] for word in line["text"].split()] for page in told["pages"]] == said(text)
    if case.kept:
        assert result.read_bytes() == (house.inbox / name).read_bytes()
    else:
        # As sets: Poppler tells what is written in fields and notes as well.
        assert [{*page} for page in said(pdftotext(result))] == [{*page} for page in said(text)]
    made = report(house, job)["made"]
    assert case.lacks in str(made["incomplete"]) and bool(made["incomplete"]) == bool(case.lacks)
    assert case.lacks in job["reason"]
    assert case.warning in str(made["warnings"])


def report(house: House, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((house.state / "reports" / "films" / f"{job['result']}.json").read_text())
    return found


@pytest.mark.parametrize("name", [name for name, case in BAG.items() if case.refused])
def test_a_file_that_cannot_be_read_is_refused_with_its_reason(
    name: str, house: House, jobs: dict[str, dict[str, Any]]
) -> None:
    job = jobs[name]
    assert (job["state"], job["attempts"]) == ("quarantined", 1)
    assert BAG[name].refused in job["reason"] and job["reason"].startswith(f"{name}: ")
    assert (house.inbox / name).exists()


def test_no_document_is_taken_twice_and_none_is_overwritten(house: House, jobs: dict[str, dict[str, Any]]) -> None:
    results = [job["result"] for job in jobs.values() if job["result"]]
    assert len(results) == len({*results}) == sum(not case.refused for case in BAG.values()) + 1
    assert {jobs["scan.png"]["result"], jobs["scan.pdf"]["result"]} == {"scan.pdf", "scan (2).pdf"}
    assert {"readme.txt", "empty.pdf"}.isdisjoint(jobs)
    assert house.strays() == [] or {stray.parent.name for stray in house.strays()} == {"work"}


def test_a_sidecar_chooses_pages_and_outputs(house: House, jobs: dict[str, dict[str, Any]]) -> None:
    assert jobs["ranged.tif"]["result"] == "ranged.txt"
    assert said((house.outbox / "ranged.txt").read_text()) == [["second", "leaf"], ["third", "leaf"]]


TEN = [f"leaf number {number}" for number in range(10)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house in which nothing happened but the work."""
    house = House(tmp_path_factory.mktemp("calm") / "house", pipeline="ocr", options=OPTIONS)
    frames(*TEN)(house.inbox / "ten.tif")
    assert house.drain() == 0, house.lines
    assert said((house.outbox / "ten.txt").read_text()) == [words.split() for words in TEN]
    return house


@pytest.fixture
def other(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "house", pipeline="ocr", options=OPTIONS)
    yield house
    house.clear()


@pytest.mark.parametrize(
    "moment", [pytest.param("segment 1 of 10 done", marks=pytest.mark.long), "segment 6 of 10 done"]
)
def test_a_killed_daemon_goes_on_and_gives_the_same_bytes(moment: str, other: House, calm: House) -> None:
    frames(*TEN)(other.inbox / "ten.tif")
    other.start()
    other.see(moment)
    other.kill()
    assert other.drain() == 0, other.lines
    assert other.results() == calm.results()
    assert other.strays() == []
    assert sum("of 10 done" in line for line in other.lines) == 10, "a finished page was read again"


def test_a_killed_worker_is_followed_by_one_that_goes_on(other: House, calm: House) -> None:
    frames(*TEN)(other.inbox / "ten.tif")
    other.start("--drain")
    other.see("segment 4 of 10 done")
    other.signal_workers(signal.SIGKILL)
    assert other.wait() == 0, other.lines
    assert other.results() == calm.results()


def test_a_page_that_kills_the_worker_is_given_up_and_the_document_comes_out(other: House) -> None:
    other.program = deadly.PROGRAM
    frames("leaf one", f"the {deadly.WORD} leaf", "leaf three")(other.inbox / "book.tif")
    assert other.drain() == 0, other.lines
    assert said((other.outbox / "book.txt").read_text()) == [["leaf", "one"], [], ["leaf", "three"]]
    (job,) = json.loads(other.command("jobs", "--json").stdout)
    assert (job["state"], job["attempts"]) == ("done", 3)
    (lack,) = report(other, job)["made"]["incomplete"]
    assert lack.startswith("page 2 could not be read: the worker died 2 times")
    assert lack in job["reason"]
