from pathlib import Path

import pytest

from darkroom.pipelines.base import BUNDLE, fingerprint
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr.document import DocumentFacts, PageFacts
from darkroom.pipelines.ocr.options import Options
from darkroom.pipelines.ocr.outputs.settings import Mode
from darkroom.pipelines.ocr.plan import EngineFacts, Engines, OcrPlan, Way, make_plan, way_of

RAPID = EngineFacts(
    name="rapidocr",
    version="3.10.0",
    provider="onnxruntime CPU",
    models=(("det.onnx", "ab" * 32), ("rec.onnx", "cd" * 32)),
)


def facts(*pages: PageFacts, warnings: tuple[str, ...] = ()) -> DocumentFacts:
    return DocumentFacts(
        source=Path("a.pdf"),
        size_bytes=9,
        mtime_ns=1,
        sha256="0" * 64,
        kind="pdf",
        pages=pages or (page(),),
        warnings=warnings,
    )


def page(native: int = 0, hidden: int = 0, dpi: float = 0.0) -> PageFacts:
    return PageFacts(index=0, width=595, height=842, native_chars=native, hidden_chars=hidden, dpi=dpi)


def plan(found: DocumentFacts | None = None, engines: Engines | None = None, **options: object) -> OcrPlan:
    return make_plan(Options.model_validate(options), found or facts(), engines or Engines(reading=RAPID))


SCAN, DIGITAL, STAMPED = page(dpi=300), page(native=2000), page(native=12, dpi=300)
LAYERED, LAYERED_AND_STAMPED = page(native=900, hidden=900, dpi=300), page(native=912, hidden=900, dpi=300)


@pytest.mark.parametrize(
    ("found", "skip", "redo", "force"),
    [
        (SCAN, "ocr", "ocr", "ocr"),
        (DIGITAL, "native", "native", "ocr"),
        (STAMPED, "mixed", "mixed", "ocr"),
        (LAYERED, "native", "ocr", "ocr"),
        (LAYERED_AND_STAMPED, "native", "mixed", "ocr"),
        (page(native=2000, dpi=300), "native", "native", "ocr"),
    ],
)
def test_each_page_comes_to_its_text_as_the_mode_wants(found: PageFacts, skip: Way, redo: Way, force: Way) -> None:
    modes: tuple[Mode, ...] = ("skip", "redo", "force")
    assert [way_of(found, mode) for mode in modes] == [skip, redo, force]


def test_a_segment_is_a_page_of_the_range() -> None:
    made = plan(facts(*[SCAN] * 5), pages="2,4-")
    assert made.pages == (1, 3, 4)
    assert [(segment.start, segment.stop) for segment in made.segments] == [(0, 1), (1, 2), (2, 3)]
    assert made.units == 3


def test_a_range_past_the_end_is_the_files_fault() -> None:
    with pytest.raises(Rejected, match="7- names none of its 1 pages"):
        plan(pages="7-")


def test_one_output_is_a_file_and_several_are_a_bundle_led_by_the_pdf() -> None:
    assert plan(outputs=["txt"]).result_suffix == ".txt"
    several = plan(outputs=["json", "txt", "pdfa"])
    assert (several.result_suffix, several.outputs) == (BUNDLE, ("pdfa", "txt", "json"))


def test_another_model_or_setting_is_another_plan() -> None:
    other = Engines(reading=EngineFacts(name="rapidocr", models=(("det.onnx", "00" * 32),)))
    plans = [
        plan(),
        plan(engines=other),
        plan(dpi=300),
        plan(min_score=0.4),
        plan(orientation="off"),
        plan(mode="redo"),
    ]
    assert len({fingerprint("ocr", made) for made in plans}) == len(plans)
    assert fingerprint("ocr", plan()) == fingerprint("ocr", plan())


def test_what_reads_is_said_with_its_provider_and_models() -> None:
    assert plan().what == "rapidocr 3.10.0 on onnxruntime CPU (det.onnx abababab, rec.onnx cdcdcdcd)"
    assert plan(facts(DIGITAL), Engines()).what == "the text the pages carry"


def test_warnings_of_the_document_and_of_the_engines_are_the_plans() -> None:
    slow = Engines(reading=EngineFacts(name="rapidocr", warnings=("CUDA was asked for, and the CPU computes",)))
    assert plan(facts(warnings=("signed",)), slow).warnings == ("signed", "CUDA was asked for, and the CPU computes")
