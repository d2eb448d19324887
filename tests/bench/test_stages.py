from dataclasses import replace

import pytest
import torch
from tables import bench

from darkroom.kernels.backend import TORCH
from darkroom.pipelines.tiny_models import TINY
from darkroom.pipelines.upscale.flashvsr.model import Chunk, FlashVSR, begin, step
from darkroom.pipelines.upscale.flashvsr.prepare import low_quality

stages, weights = bench("stages"), bench("weights")
CPU = torch.device("cpu")
SIZE = 128, 128
STAGES = ["enlarge", "projection", "transformer", "decoder", "colours"]


@pytest.fixture(scope="module")
def model() -> FlashVSR:
    found: FlashVSR = weights.model(TINY, *SIZE, ops=TORCH, dtype=torch.float32, device=CPU)
    return found


def test_a_step_taken_apart_gives_the_frames_of_the_step(model: FlashVSR) -> None:
    pictures = weights.moving(33, 32, 32)
    apart, whole = begin(model, *SIZE), begin(model, *SIZE)
    for rgb, latents in ((pictures[:25], 6), (pictures[25:], 2)):
        noise, clock = torch.randn(latents, 16, 16, 16), bench("timing").Clock(CPU)
        clock.mark("")
        found, apart = stages.staged(stages.Trial(model=model), rgb, noise, apart, clock)
        wanted, whole = step(model, Chunk(frames=low_quality(rgb, *SIZE, torch.float32), noise=noise), whole)
        assert torch.equal(found, wanted)
        assert list(clock.spans()) == STAGES


def test_a_run_says_what_first_and_steady_chunks_take(model: FlashVSR) -> None:
    taken, state = stages.run(stages.Trial(model=model), *SIZE, 2)
    assert list(taken.first) == list(taken.steady) == STAGES
    assert all(ms > 0 for ms in (*taken.first.values(), *taken.steady.values(), taken.host))
    assert taken.whole >= max(taken.steady.values())
    assert taken.peak is None
    assert state.latents == 6 + 2 * (stages.WARM + 2 - 1)


def test_a_stream_is_timed_behind_its_first_chunks(model: FlashVSR) -> None:
    assert 0 < stages.streamed(model, *SIZE, 1) < 60_000


def test_the_pairs_that_were_kept_are_counted(model: FlashVSR) -> None:
    assert stages.kept_pairs(model, *SIZE) == 0.75  # one window: of four pairs the least is dropped
    flat = replace(model.dit, blocks=tuple(replace(block, q_norm=0 * block.q_norm) for block in model.dit.blocks))
    assert stages.kept_pairs(replace(model, dit=flat), *SIZE) == 0  # ties everywhere
