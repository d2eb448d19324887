"""The pipeline `ocr`: a scan, photo or PDF in, its text out as files of several kinds"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom.pipelines.base import BUNDLE, Process, Site
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr.document import DocumentFacts, probe
from darkroom.pipelines.ocr.engines.base import Engine
from darkroom.pipelines.ocr.engines.choose import engines, structure
from darkroom.pipelines.ocr.options import Options
from darkroom.pipelines.ocr.outputs.write import KINDS, write
from darkroom.pipelines.ocr.page import Page, from_json
from darkroom.pipelines.ocr.pages import pages_read
from darkroom.pipelines.ocr.plan import EngineFacts, Engines, OcrPlan, chosen_pages, make_plan, way_of
from darkroom.pipelines.ocr.read_page import Reader
from darkroom.pipelines.ocr.structure.reader import StructureReader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ocr:
    """Reads documents as `options` say, at `site`."""

    options: Options
    site: Site = field(default_factory=Site)

    def probe(self, source: Path) -> DocumentFacts:
        """Read what `source` is and what its pages are like. Raises Rejected, Unavailable."""
        return probe(source)

    def plan(self, facts: DocumentFacts) -> OcrPlan:
        """Decide everything. Loads the engine where one is needed: what it is, is part of the plan.

        Raises Rejected, Unavailable.
        """
        pages = chosen_pages(self.options, facts)
        reads = any(way_of(facts.pages[page], self.options.mode) != "native" for page in pages)
        reader = self._readers(reads=reads)[0]
        return make_plan(self.options, facts, Engines(reading=_facts(reader.engine), structure=_structure(reader)))

    @contextmanager
    def open(self, plan: OcrPlan) -> Iterator[Process]:
        """Yield what reads pages, with the engines loaded. Raises Unavailable."""
        readers = self._readers(reads=plan.engines.reading is not None)
        with pages_read(plan, readers, self.site.crashes) as process:
            yield process

    def preload(self) -> str:
        """Load the engine and what finds structure, and say what they are. Raises Unavailable."""
        reader = self._readers(reads=True)[0]
        loaded = [engine for engine in (_facts(reader.engine), _structure(reader)) if engine]
        return "; ".join(engine.what for engine in loaded)

    def join(self, plan: OcrPlan, parts: Sequence[Path], out: Path) -> None:
        """Write the outputs: a pure function of the pages. Raises Rejected where none of them could be read."""
        pages = [from_json(part.read_bytes()) for part in parts]
        if all(page.failed for page in pages):
            raise Rejected(f"{plan.facts.source.name}: none of its pages could be read: {pages[0].failed}")
        if plan.result_suffix != BUNDLE:
            return write(plan.outputs[0], plan.facts, pages, plan.settings, out)
        out.mkdir()
        for number, kind in enumerate(plan.outputs):
            write(kind, plan.facts, pages, plan.settings, out / f"{number}{KINDS[kind].suffix}")

    def report(self, plan: OcrPlan) -> dict[str, Any]:
        """Say what read the document, in values JSON can hold."""
        facts = plan.facts
        found = {"engine": plan.engines.reading, "structure": plan.engines.structure}
        return {
            "model": plan.engines.reading.name if plan.engines.reading else "native",
            **{name: _told(engine) for name, engine in found.items() if engine},
            "outputs": list(plan.outputs),
            "mode": plan.settings.mode,
            "dpi": plan.dpi,
            "source": {"kind": facts.kind, "pages": len(facts.pages), "sha256": facts.sha256},
            "warnings": list(plan.warnings),
        }

    def review(self, plan: OcrPlan, parts: Sequence[Path]) -> dict[str, Any]:
        """Say how the pages came to their text, what was odd about them, and which are missing."""
        pages = [from_json(part.read_bytes()) for part in parts]
        failed = [page for page in pages if page.failed]
        odd = Counter(warning for page in pages for warning in page.warnings)
        first = {warning: page.index + 1 for page in reversed(pages) for warning in page.warnings}
        return {
            "pages": dict(Counter("failed" if page.failed else page.source for page in pages)),
            "lines": sum(len(page.lines) for page in pages),
            "score": _mean_score(pages),
            "warnings": [*plan.warnings, *(_on_pages(what, first[what], count) for what, count in odd.items())],
            "incomplete": [f"page {page.index + 1} could not be read: {page.failed}" for page in failed],
        }

    def _readers(self, *, reads: bool) -> tuple[Reader, ...]:
        options = self.options.model_copy(update={"workers": 1}) if self.site.crashes else self.options
        found = engines(options, self.site.models, self.site.device) if reads else (None,) * options.workers
        return tuple(Reader(engine=engine, structure=structure(options, self.site.models)) for engine in found)


def _facts(engine: Engine | None) -> EngineFacts | None:
    if engine is None:
        return None
    models = tuple(sorted(engine.models.items()))
    return EngineFacts(
        name=engine.name, version=engine.version, provider=engine.provider, models=models, warnings=engine.warnings
    )


def _structure(reader: Reader) -> EngineFacts | None:
    found: StructureReader | None = reader.structure
    if found is None:
        return None
    return EngineFacts(name=found.name, models=tuple(sorted(found.models.items())), warnings=found.warnings)


def _told(engine: EngineFacts) -> dict[str, Any]:
    return {
        "name": engine.name,
        "version": engine.version,
        "provider": engine.provider,
        "models_sha256": dict(engine.models),
    }


def _mean_score(pages: Sequence[Page]) -> float | None:
    """Give the mean score of what was read, long lines counting more; None where nothing was."""
    scored = [(line.score, len(line.text)) for page in pages for line in page.lines if line.score is not None]
    length = sum(count for _, count in scored)
    return round(sum(score * count for score, count in scored) / length, 4) if length else None


def _on_pages(warning: str, first: int, count: int) -> str:
    return f"page {first}: {warning}" if count == 1 else f"page {first} and {count - 1} more: {warning}"
