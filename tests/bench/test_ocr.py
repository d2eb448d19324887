from pathlib import Path

import pytest
from tables import bench, number, rows_of

ocr = bench("ocr")


@pytest.mark.long
def test_quick_ways_read_the_pages_or_say_why_not(tmp_path: Path) -> None:
    own, other = rows_of("ocr", tmp_path)
    assert [own["way"], other["way"]] == list(ocr.QUICK_WAYS)
    assert own["remark"] == "" and number(own["clean"]) < 1 and number(own["degraded"]) < 3
    for column in ("CPU-s/page", "s/page", "peak RSS, MiB"):
        assert number(own[column]) > 0
    assert other["remark"].startswith("not run: ") or number(other["clean"]) < 10


def test_a_page_tells_its_group_and_language_by_its_name() -> None:
    page = Path("degraded-1-zh.png")
    assert (ocr.group_of(page), ocr.language_of(page)) == ("degraded", "chi_sim")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-reader is not installed"):
        ocr.found("no-such-reader")


def test_versions_of_packages_and_programs_are_told_and_what_is_missing_too() -> None:
    assert ocr.version_of("pillow")[:8] == "pillow 1"
    assert ocr.version_of("no-such-reader") == "no-such-reader is not installed"


def test_a_program_that_fails_leaves_its_last_words() -> None:
    with pytest.raises(RuntimeError, match="sh: out of paper"):
        ocr.run("sh", "-c", "echo first >&2; echo out of paper >&2; exit 1")


def test_rates_are_means_of_the_pages_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = {Path("clean-0-en.png"): "abcd", Path("clean-1-de.png"): "abcd", Path("turned-0-en.png"): "ab"}
    answer = {"texts": {"clean-0-en.png": "abcd", "clean-1-de.png": "abxd", "turned-0-en.png": "ab"}, "s/page": 1.0}
    monkeypatch.setattr(ocr, "in_child", lambda *_, quick: answer)
    ask = bench("rows").Asked(quick=True, readme=None, child=[])
    row = ocr.row("tesseract", truths, ask)
    assert (row["clean"], row["turned"], row["s/page"]) == (12.5, 0.0, 1.0)
    monkeypatch.setattr(ocr, "in_child", lambda *_, quick: {"error": "tesseract is not installed"})
    assert ocr.row("tesseract", truths, ask)["remark"] == "not run: tesseract is not installed"
