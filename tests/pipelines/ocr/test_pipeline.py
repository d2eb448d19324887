from pathlib import Path

import pytest
from documents import pdf, shown
from papers import ENGLISH, GERMAN, cer, clean
from PIL import Image

from darkroom.pipelines.base import Plan, Preloads, Reviews, Site
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr.options import Options
from darkroom.pipelines.ocr.page import Page, to_json
from darkroom.pipelines.ocr.pipeline import Ocr

FEW = "\n".join(ENGLISH.splitlines()[:3])
WENIG = "\n".join(GERMAN.splitlines()[:3])


def ocr(site: Site | None = None, **options: object) -> Ocr:
    return Ocr(options=Options.model_validate(options), site=site or Site())


def made(pipeline: Ocr, source: Path, folder: Path) -> tuple[Plan, list[Path], Path]:
    """Run the four verbs as the daemon does; give the plan, the parts and the result."""
    folder.mkdir()
    plan = pipeline.plan(pipeline.probe(source))
    parts = [folder / f"{segment.index:06d}.json" for segment in plan.segments]
    with pipeline.open(plan) as process:
        for segment, part in zip(plan.segments, parts, strict=True):
            process(segment, None, part, lambda done: None)
    result = folder / f"result{plan.result_suffix}"
    pipeline.join(plan, parts, result)
    return plan, parts, result


@pytest.fixture
def two_pages(tmp_path: Path) -> Path:
    first, second = clean(FEW).image, clean(WENIG).image
    first.save(tmp_path / "zwei.tif", save_all=True, append_images=[second], dpi=(150, 150))
    return tmp_path / "zwei.tif"


def test_two_pages_become_one_text(two_pages: Path, tmp_path: Path) -> None:
    *_, result = made(ocr(outputs=["txt"]), two_pages, tmp_path / "work")
    first, second = result.read_text().split("\f")
    assert cer(first, FEW) <= 0.005
    assert cer(second, WENIG) <= 0.005


def test_several_outputs_are_a_folder_of_files_led_by_the_pdf(two_pages: Path, tmp_path: Path) -> None:
    *_, result = made(ocr(), two_pages, tmp_path / "work")
    assert sorted(path.name for path in result.iterdir()) == ["0.pdf", "1.txt", "2.json"]


def test_a_resumed_job_and_two_workers_give_the_same_bytes(two_pages: Path, tmp_path: Path) -> None:
    plan, parts, result = made(ocr(), two_pages, tmp_path / "work")
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    again, other_parts, other = made(ocr(workers=2), two_pages, tmp_path / "again")
    assert [part.read_bytes() for part in parts] == [part.read_bytes() for part in other_parts]
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before
    assert again == plan


def test_a_document_with_text_of_its_own_needs_no_engine(tmp_path: Path) -> None:
    pipeline = ocr(model="custom", model_dir="nowhere", outputs=["txt"])
    plan, parts, result = made(pipeline, pdf(tmp_path / "a.pdf", [shown("its own words")]), tmp_path / "work")
    assert result.read_text() == "its own words\n"
    assert pipeline.review(plan, parts)["pages"] == {"native": 1}  # type: ignore[arg-type]
    assert pipeline.report(plan)["model"] == "native"  # type: ignore[arg-type]


def test_the_report_says_what_read_and_the_review_how_well(two_pages: Path, tmp_path: Path) -> None:
    pipeline = ocr(outputs=["txt"])
    plan = pipeline.plan(pipeline.probe(two_pages))
    report = pipeline.report(plan)
    assert report["engine"]["provider"] == "onnxruntime CPUExecutionProvider"
    assert set(report["engine"]["models_sha256"]) == {"PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"}
    pages = [Page(index=0, width=9, height=9, dpi=0, warnings=("odd",)), Page(index=1, width=9, height=9, dpi=0)]
    review = pipeline.review(plan, parts(tmp_path, pages))
    assert (review["pages"], review["score"], review["incomplete"]) == ({"ocr": 2}, None, [])
    assert review["warnings"] == ["page 1: odd"]


def parts(folder: Path, pages: list[Page]) -> list[Path]:
    for page in pages:
        (folder / f"{page.index}.json").write_bytes(to_json(page))
    return [folder / f"{page.index}.json" for page in pages]


def test_a_page_that_failed_is_listed_and_the_others_come_out(two_pages: Path, tmp_path: Path) -> None:
    pipeline = ocr(outputs=["txt"], site=Site(crashes=2))
    plan, read, result = made(pipeline, two_pages, tmp_path / "work")
    first, second = result.read_text().split("\f")
    assert (first, cer(second, WENIG) <= 0.005) == ("", True)
    [missing] = pipeline.review(plan, read)["incomplete"]  # type: ignore[arg-type]
    assert missing.startswith("page 1 could not be read: the worker died 2 times")


def test_a_document_without_a_page_that_could_be_read_is_refused(two_pages: Path, tmp_path: Path) -> None:
    pipeline = ocr()
    plan = pipeline.plan(pipeline.probe(two_pages))
    failed = [Page(index=index, width=9, height=9, dpi=0, failed="broken") for index in (0, 1)]
    with pytest.raises(Rejected, match=r"zwei\.tif: none of its pages could be read: broken"):
        pipeline.join(plan, parts(tmp_path, failed), tmp_path / "out")


def test_it_can_be_preloaded_and_says_what_with() -> None:
    assert isinstance(ocr(), Preloads)
    assert isinstance(ocr(), Reviews)
    said = ocr(structure="tables").preload()
    assert said.startswith("rapidocr 3.10.0 on onnxruntime CPUExecutionProvider (PP-OCRv6_det_small.onnx ")
    assert "; rapid-layout, " in said


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    with pytest.raises(Rejected, match=r"cut\.png: neither a PDF nor an image"):
        ocr().probe(tmp_path / "cut.png")
