from pathlib import Path

import pytest
import torch
from tables import bench, number, rows_of

from darkroom.pipelines.animate.attention import BACKENDS

animate = bench("animate")


@pytest.mark.long
def test_each_way_of_a_step_is_measured_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = rows_of("animate", tmp_path)
    ways = [row["a step, transformer alone"] for row in rows]
    assert ways[: len(BACKENDS)] == [f"attention by {backend.name}" for backend in BACKENDS]
    assert ways[len(BACKENDS) :] == [
        "not guided, one pass",
        "blocks streamed from host memory",
        "weights in fp8",
        "weights in int8",
    ]
    for row in rows:
        assert row["remark"] or min(number(row["ms a step"]), number(row["peak GiB"])) > 0
    assert [row["remark"] for row in rows if "sdpa" in row["a step, transformer alone"]] == [""]


def test_a_way_that_fails_costs_the_others_nothing() -> None:
    (case,) = animate.cases(animate.Asked(quick=True, readme=None, child=[]))

    class Broken:
        def __getattr__(self, name: str) -> None:
            raise RuntimeError("out of memory\nand more")

    asked = animate.Asked(quick=True, readme=None, child=[])
    row = animate.tried(case, "broken", Broken(), 1.0, asked, torch.no_grad())
    assert (row["ms a step"], row["remark"]) == ("–", "failed: out of memory and more")


def test_the_published_model_costs_what_is_published() -> None:
    case = animate.Case(
        config=animate.PUBLISHED,
        size=animate.Size(832, 480),
        frames=81,
        dtype=torch.bfloat16,
        device=torch.device("cpu"),
    )
    assert animate.operations(case.architecture, case.size, case.frames) == pytest.approx(1.66e15, rel=0.01)
