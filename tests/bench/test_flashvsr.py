import json
import os
import sys
from pathlib import Path

import pytest
import torch
from patience import patiently
from tables import BENCH, bench, number, parsed

flashvsr = bench("flashvsr")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, list[dict[str, object]]]]:
    """The page and the file of all rows that a smoke run writes."""
    folder = tmp_path_factory.mktemp("flashvsr")
    page, rows = folder / "page.md", folder / "rows.json"
    page.write_text("before\n<!-- flashvsr: begin -->\nold\n<!-- flashvsr: end -->\nafter\n")
    command = [sys.executable, str(BENCH / "flashvsr.py"), "--quick", "--device", "cpu"]
    calm = {"OMP_WAIT_POLICY": "passive", **os.environ}  # spinning threads of a busy machine take minutes
    ended = patiently([*command, "--readme", str(page), "--json", str(rows)], env=calm)
    assert ended.returncode == 0, ended.stderr
    return page.read_text(), json.loads(rows.read_text())


@pytest.mark.long
def test_a_smoke_run_says_that_it_is_one_and_leaves_the_rest_of_the_page(made: tuple[str, object]) -> None:
    page, _ = made
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "\nold\n" not in page
    assert "no results" in page
    tables = [part for part in page.split("\n\n") if part.startswith("|")]
    assert [len(parsed(part)) > 3 for part in tables] == [True] * 3


@pytest.mark.long
def test_stages_add_up_to_the_chunk(made: tuple[str, dict[str, list[dict[str, object]]]]) -> None:
    rows = {str(row["stage"]): row for row in made[1]["A chunk by its stages"]}
    stages = ("enlarge by bicubic", "projection", "transformer", "decoder", "colours")
    assert sum(number(str(rows[name]["ms"])) for name in stages) == pytest.approx(
        number(str(rows["a steady chunk"]["ms"])), rel=0.01
    )
    flop = sum(number(str(rows[name]["TFLOP"])) for name in ("projection", "transformer", "decoder"))
    assert flop == pytest.approx(number(str(rows["a steady chunk"]["TFLOP"])))
    assert {"the first chunk", "a streamed chunk, by the clock", "– feed-forward"} <= set(rows)


@pytest.mark.long
def test_all_tables_have_what_a_gpu_would_be_asked(made: tuple[str, dict[str, list[dict[str, object]]]]) -> None:
    assert {row["way"] for row in made[1]["Attention of one layer"]} >= {"FlexAttention", "Triton"}
    changes = bench("without").changes(flashvsr.ARCHITECTURES["tiny"], 128, 128)
    assert len(made[1]["The same otherwise"]) == 1 + len(changes) + 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_smoke_run_on_a_gpu_times_the_kernels_and_the_libraries(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    command = [sys.executable, str(BENCH / "flashvsr.py"), "--quick", "--device", "cuda", "--json", str(rows)]
    ended = patiently(command)
    assert ended.returncode == 0, ended.stderr
    tables = json.loads(rows.read_text())
    ways = {row["way"]: row for row in tables["Attention of one layer"]}
    assert all(ways[way]["ms"] > 0 for way in ("SDPA, all keys", "Triton", "Triton, int8 products"))
    assert all(row["peak, GiB"] != "–" or "sage" in row["FlashVSR"] for row in tables["The same otherwise"])


def test_a_gpu_that_is_not_there_is_missed_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["flashvsr.py", "--device", "cuda"])
    with pytest.raises(SystemExit, match="bench: cuda: torch finds no CUDA device here"):
        flashvsr.main()


def test_without_a_gpu_the_official_widths_must_be_asked_for_twice(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        flashvsr.wanted(["--architecture", "official"])
    assert "minutes a chunk" in capsys.readouterr().err
    assert flashvsr.wanted(["--architecture", "official", "--device", "cpu"]).architecture == "official"


def test_only_results_reach_the_page_unasked(tmp_path: Path) -> None:
    assert flashvsr.wanted(["--device", "cuda"]).readme == BENCH / "README.md"
    assert flashvsr.wanted(["--device", "cpu"]).readme is None
    assert flashvsr.wanted(["--device", "cuda", "--quick"]).readme is None
    assert flashvsr.wanted(["--device", "cuda", "--architecture", "tiny"]).readme is None
    assert flashvsr.wanted(["--device", "cpu", "--readme", str(tmp_path)]).readme == tmp_path


def test_a_gpu_gets_the_published_size_and_widths_in_bf16() -> None:
    want = flashvsr.wanted(["--device", "cuda"])
    assert (want.size, want.architecture, want.dtype, want.smoke) == ((768, 1408), "official", torch.bfloat16, False)


@pytest.mark.parametrize("text", ["100x256", "768", "0x0", "768x1409"])
def test_a_size_off_the_grid_is_refused(text: str) -> None:
    with pytest.raises((ValueError, flashvsr.argparse.ArgumentTypeError)):
        flashvsr.size(text)


def test_too_little_memory_ends_the_program_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(want: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has a total capacity of 8 GiB")

    monkeypatch.setattr(flashvsr, "measured", full)
    monkeypatch.setattr(sys, "argv", ["flashvsr.py", "--quick", "--device", "cpu"])
    with pytest.raises(SystemExit, match="bench: CUDA out of memory; ask for a smaller --size"):
        flashvsr.main()


def test_wrong_results_end_the_program_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(want: object) -> None:
        raise flashvsr.Disagreement("triton, rms_norm: off by 1, allowed are 0.01")

    monkeypatch.setattr(flashvsr, "measured", wrong)
    monkeypatch.setattr(sys, "argv", ["flashvsr.py", "--quick", "--device", "cpu"])
    with pytest.raises(SystemExit, match="wrong results, so no tables: triton, rms_norm"):
        flashvsr.main()
