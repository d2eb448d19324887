import pytest
import torch
from goldens import distance, golden, weights
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.lq_projection import LQProjection, prepare, project, start


def projection(causal: bool, dtype: torch.dtype = torch.float32) -> LQProjection:
    return prepare(weights("lq"), causal=causal, dtype=dtype, device="cpu")


def video() -> Tensor:
    return golden("lq_stream")["video"][0].transpose(0, 1)


@pytest.mark.parametrize(("causal", "name"), [(True, "causal"), (False, "buffer")])
def test_both_variants_give_the_reference_tokens(causal: bool, name: str) -> None:
    model, frames = projection(causal), video()
    tokens, _ = project(model, frames[1:], start(model, frames[:1]))
    assert distance(tokens.flatten(0, 2), golden("lq_stream")[f"{name}.tokens"][0]) < 2e-5


def test_the_state_after_the_first_frame_is_that_of_the_reference() -> None:
    state = start(projection(causal=True), video()[:1])
    wanted = golden("lq_stream")
    assert distance(state.frames, wanted["causal.cache1_after_clip0"][0].transpose(0, 1)) == 0
    assert distance(state.hidden, wanted["causal.cache2_after_clip0"][0].transpose(0, 1)) < 2e-5
