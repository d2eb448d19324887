import weakref

import pytest
import torch
from tables import bench

from darkroom.kernels.backend import TORCH
from darkroom.pipelines.tiny_models import TINY
from darkroom.pipelines.upscale.flashvsr.model import FlashVSR

stages, weights, without = bench("stages"), bench("weights"), bench("without")
SIZE = 128, 128
CHANGES = without.changes(TINY, *SIZE)
OTHER_PICTURES = {name for name in CHANGES if "other pictures" in name}
NEED_CUDA = {name for name in CHANGES if "sage" in name or "int8" in name}


@pytest.fixture(scope="module")
def model() -> FlashVSR:
    found: FlashVSR = weights.model(TINY, *SIZE, ops=TORCH, dtype=torch.float32, device=torch.device("cpu"))
    return found


def frames(trial: object, model: FlashVSR) -> torch.Tensor:
    """The frames of a second chunk."""
    pictures, state, numbers = weights.moving(33, 32, 32), stages.begin(trial.model, *SIZE), torch.Generator()  # type: ignore[attr-defined]
    for rgb, latents in ((pictures[:25], 6), (pictures[25:], 2)):
        noise, clock = torch.randn(latents, 16, 16, 16, generator=numbers), bench("timing").Clock(model.device)
        shown, state = stages.staged(trial, rgb, noise, state, clock)
    return torch.Tensor(shown)


@pytest.mark.parametrize("name", sorted(set(CHANGES) - OTHER_PICTURES - NEED_CUDA))
def test_a_change_that_is_for_speed_or_memory_alone_leaves_the_pictures(model: FlashVSR, name: str) -> None:
    found, wanted = frames(CHANGES[name](model), model), frames(stages.Trial(model=model), model)
    assert bench("agreement").error(found, wanted) < 1e-3


def test_dense_attention_makes_other_pictures(model: FlashVSR) -> None:
    change = CHANGES["attention to all keys, by torch (other pictures)"](model)
    assert bench("agreement").error(frames(change, model), frames(stages.Trial(model=model), model)) > 1e-3


def test_each_change_has_a_row_and_what_cannot_run_here_says_why(model: FlashVSR) -> None:
    plain, _ = stages.run(stages.Trial(model=model), *SIZE, 1)
    rows = {row["FlashVSR"]: row for row in without.rows(model, TINY, plain, *SIZE, 1)}
    assert set(rows) == {"as it is", *CHANGES, without.AGAIN}
    for name, row in rows.items():
        if name in NEED_CUDA:
            assert "CUDA" in row["remark"]
        else:
            assert row["FPS"] == pytest.approx(8000 / row["ms a chunk"])
            assert row["times as long"] == pytest.approx(row["ms a chunk"] / plain.whole)
    assert len({tuple(row) for row in rows.values()}) == 1  # the same columns in one order


def test_no_state_is_held_while_the_next_change_runs(model: FlashVSR, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = stages.run(stages.Trial(model=model), *SIZE, 1)
    made: list[weakref.ref[object]] = []
    held: list[object] = []

    def run(trial: object, height: int, width: int, chunks: int) -> tuple[object, object]:
        held.extend(state for ref in made if (state := ref()) is not None)  # it would count in this one's peak
        made.append(weakref.ref(state := torch.zeros(1)))
        return plain, state

    monkeypatch.setattr(without, "run", run)
    assert len(list(without.rows(model, TINY, plain, *SIZE, 1))) == 1 + len(CHANGES) + 1
    assert made
    assert not held


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."),
            "not here: OutOfMemoryError: CUDA out",
        ),
        (RuntimeError("no kernel image"), "not here: RuntimeError: no kernel image"),
        (bench("agreement").Disagreement("off by 1"), "not here: Disagreement: off by 1"),
    ],
)
def test_a_change_that_fails_says_so_and_the_rest_goes_on(
    model: FlashVSR, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    plain, state = stages.run(stages.Trial(model=model), *SIZE, 1)

    def run(trial: object, *_: object) -> tuple[object, object]:
        if trial.try_out:  # type: ignore[attr-defined]
            raise error
        return plain, state

    monkeypatch.setattr(without, "run", run)
    rows = {row["FlashVSR"]: row for row in without.rows(model, TINY, plain, *SIZE, 1)}
    assert rows["cuDNN trying its ways out"]["remark"].startswith(said)
    assert rows[without.AGAIN]["times as long"] == 1


def test_a_projection_that_is_wrong_is_not_timed(model: FlashVSR, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(without.lq_projection, "TAPS", 2)
    with pytest.raises((bench("agreement").Disagreement, RuntimeError)):
        without.projection_3d(model, *SIZE)
