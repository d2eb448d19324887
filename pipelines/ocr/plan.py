"""What is decided before a document is read: which pages, how each comes to its text, by which engine"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from darkroom.pipelines.base import BUNDLE, Plan, Segment
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr.document import DocumentFacts, PageFacts
from darkroom.pipelines.ocr.options import Options
from darkroom.pipelines.ocr.outputs.settings import Mode, OutputSettings
from darkroom.pipelines.ocr.outputs.write import KINDS
from darkroom.pipelines.ocr.page import SCHEMA
from darkroom.pipelines.ocr.page_range import parse_pages

Way = Literal["native", "ocr", "mixed"]  # its own text; read; both, for what is read besides

STAMP = 100  # characters: so few of a page's own over a scan are a stamp or a page number, not its text


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What reads, exactly: part of the plan, for another model reads another text."""

    name: str
    version: str = ""
    provider: str = ""  # what really computes
    models: tuple[tuple[str, str], ...] = ()  # file, SHA-256
    warnings: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """In a few words for people, the models by the beginning of their digests."""
        models = ", ".join(f"{name} {digest[:8]}" for name, digest in self.models)
        words = (f"{self.name} {self.version}".strip(), self.provider and f"on {self.provider}", models)
        return " ".join(word for word in words[:2] if word) + (f" ({words[2]})" if words[2] else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What a document is read with; None: none of its pages asks for it."""

    reading: EngineFacts | None = None
    structure: EngineFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OcrPlan(Plan):
    """How one document is read and what comes out."""

    facts: DocumentFacts
    pages: tuple[int, ...]  # of the document, one for each segment
    ways: tuple[Way, ...]  # of each of these pages
    dpi: float
    orientation: bool  # turn pages upright
    engines: Engines
    outputs: tuple[str, ...]
    settings: OutputSettings
    schema: int = SCHEMA  # of the parts

    @property
    def what(self) -> str:
        """What reads, for people."""
        engines = [engine.what for engine in (self.engines.reading, self.engines.structure) if engine]
        return "; ".join(engines) or "the text the pages carry"


def chosen_pages(options: Options, facts: DocumentFacts) -> tuple[int, ...]:
    """Give the pages to read. Raises Rejected where the range names none of them."""
    pages = parse_pages(options.pages, len(facts.pages))
    if not pages:
        count = len(facts.pages)
        raise Rejected(
            f"{facts.source.name}: pages: {options.pages} names none of its {count} pages; correct the range"
        )
    return pages


def way_of(page: PageFacts, mode: Mode) -> Way:
    """Decide how `page` comes to its text; the characters of an image's pages are none.

    skip: text that is there is taken, whoever put it there; a stamp on a scan is not the scan's text.
    redo: what an earlier reading hid does not count. force: nothing counts.
    """
    visible = page.native_chars - page.hidden_chars
    if mode == "force" or not page.native_chars:
        return "ocr"
    if page.hidden_chars:
        return "native" if mode == "skip" else "mixed" if visible else "ocr"
    return "mixed" if page.dpi and visible <= STAMP else "native"


def make_plan(options: Options, facts: DocumentFacts, engines: Engines) -> OcrPlan:
    """Decide everything; pure. Raises Rejected."""
    pages = chosen_pages(options, facts)
    kinds = tuple(sorted(options.outputs, key=list(KINDS).index))
    found = [engine for engine in (engines.reading, engines.structure) if engine]
    return OcrPlan(
        unit="page",
        segments=tuple(Segment(index, index, index + 1) for index in range(len(pages))),
        part_suffix=".json",
        result_suffix=BUNDLE if len(kinds) > 1 else KINDS[kinds[0]].suffix,
        warnings=(*facts.warnings, *(warning for engine in found for warning in engine.warnings)),
        facts=facts,
        pages=pages,
        ways=tuple(way_of(facts.pages[page], options.mode) for page in pages),
        dpi=float(options.dpi),
        orientation=options.orientation == "auto",
        engines=engines,
        outputs=kinds,
        settings=OutputSettings(
            mode=options.mode,
            min_score=options.min_score,
            dpi=float(options.dpi),
            engine=_told(options, engines.reading),
        ),
    )


def _told(options: Options, engine: EngineFacts | None) -> Mapping[str, Any]:
    """Say in the JSON output what read the document."""
    if engine is None:
        return {}
    settings = options.model_dump(include={"model", "lang", "dpi", "mode", "orientation", "structure", "min_score"})
    models = dict(engine.models)
    return {"name": engine.name, "version": engine.version, "models": models, "settings": settings}
