from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from goldens import distance, golden, weights
from hypothesis import given, settings
from hypothesis import strategies as some
from small_flashvsr import rounded, tensors
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.lq_projection import LQProjection, LQState, prepare, project, start

EITHER = pytest.mark.parametrize("causal", [True, False], ids=["v1.1", "v1"])


def projection(*, causal: bool, dtype: torch.dtype = torch.float32) -> LQProjection:
    return prepare({name: w.to(dtype) for name, w in weights("lq").items()}, causal=causal, dtype=dtype, device="cpu")


def reference() -> Tensor:
    """Give the reference's frames, [1 + 4·k, 3, H, W]."""
    return golden("lq_stream")["video"][0].transpose(0, 1)


def video(dtype: torch.dtype = torch.float32) -> Tensor:
    """Give 1 + 8 clips of random frames."""
    generator = torch.Generator().manual_seed(8)
    return torch.rand(33, 3, 32, 48, generator=generator, dtype=torch.float64).to(dtype) * 2 - 1


def everything(model: LQProjection, frames: Tensor) -> tuple[Tensor, LQState]:
    return project(model, frames[1:], start(model, frames[:1]))


def by_definition(frames: Tensor, *, causal: bool) -> Tensor:
    """Give the tokens of a whole video by two convolutions in three dimensions, clip by clip."""
    names = {name: w.double() for name, w in weights("lq").items()}

    def layer(number: int, x: Tensor) -> Tensor:
        weight, bias = names[f"conv{number}.weight"], names[f"conv{number}.bias"]
        y = F.conv3d(F.pad(x, (1, 1, 1, 1, 0, 0), mode="replicate"), weight, bias, stride=(2, 1, 1))
        y = y / y.norm(dim=1, keepdim=True) * y.shape[1] ** 0.5 * names[f"norm{number}.gamma"]
        return F.silu(y)

    tokens, x1, u1 = [], None, None
    for first in range(-3, len(frames), 4):
        clip = frames[[max(0, first + index) for index in range(4)]]  # the first frame stands for three more
        x = rearrange(clip, "t c (h y) (w x) -> 1 (c y x) t h w", y=16, x=16)
        before = x[:, :, -2:] if x1 is None or not causal else x1
        u = layer(1, torch.cat((before, x), 2))
        if u1 is not None:
            v = layer(2, torch.cat((u1 if causal else u, u), 2))
            tokens.append(rearrange(v, "1 c 1 h w -> h w c"))
        x1, u1 = x[:, :, -2:], u
    return F.linear(torch.stack(tokens), names["linear_layers.0.weight"], names["linear_layers.0.bias"])


@pytest.mark.parametrize(("causal", "name"), [(True, "causal"), (False, "buffer")])
def test_both_variants_give_the_reference_tokens(causal: bool, name: str) -> None:
    tokens, _ = everything(projection(causal=causal), reference())
    wanted = golden("lq_stream")[f"{name}.tokens"][0]
    assert tokens.flatten(0, 2).shape == wanted.shape
    assert distance(tokens.flatten(0, 2), wanted) < 2e-5


def test_the_state_after_the_first_frame_is_that_of_the_reference() -> None:
    state = start(projection(causal=True), reference()[:1])
    wanted = golden("lq_stream")
    assert torch.equal(state.frames, wanted["causal.cache1_after_clip0"][0].transpose(0, 1))
    assert distance(state.hidden, wanted["causal.cache2_after_clip0"][0].transpose(0, 1)) < 2e-5


@EITHER
def test_two_dimensions_give_what_three_give(causal: bool) -> None:
    frames = video(torch.float64)
    tokens, _ = everything(projection(causal=causal, dtype=torch.float64), frames)
    torch.testing.assert_close(tokens, by_definition(frames, causal=causal), rtol=0, atol=1e-12)


@EITHER
@settings(deadline=None, max_examples=10)
@given(cuts=some.sets(some.integers(1, 7)))
def test_clips_may_come_in_any_portions(causal: bool, cuts: set[int]) -> None:
    model, frames = projection(causal=causal, dtype=torch.float64), video(torch.float64)
    wanted, last = everything(model, frames)
    state = start(model, frames[:1])
    found = []
    for first, end in pairwise([0, *sorted(cuts), len(wanted)]):
        tokens, state = project(model, frames[1 + 4 * first : 1 + 4 * end], state)
        found.append(tokens)
    torch.testing.assert_close(torch.cat(found), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close((state.frames, state.hidden), (last.frames, last.hidden), rtol=0, atol=1e-12)


def test_the_tokens_of_v1_see_their_own_frames_only() -> None:
    model, frames = projection(causal=False), video()
    alone, _ = project(model, frames[5:9], start(model, torch.ones_like(frames[:1])))
    tokens, _ = everything(model, frames)
    assert distance(alone[0], tokens[1]) < 1e-6


def test_the_tokens_of_v11_see_the_clip_before() -> None:
    model, frames = projection(causal=True), video()
    tokens, _ = everything(model, frames)
    frames[1:5] += 1
    disturbed, _ = everything(model, frames)
    assert distance(disturbed[1], tokens[1]) > 1e-3


@EITHER
def test_a_state_can_be_gone_on_from_twice(causal: bool) -> None:
    model, frames = projection(causal=causal), video()
    state = start(model, frames[:1])
    first, _ = project(model, frames[1:9], state)
    again, _ = project(model, frames[1:9], state)
    assert torch.equal(first, again)


def test_channels_lie_last_from_one_clip_to_the_next() -> None:
    model, frames = projection(causal=True), video()
    first = start(model, frames[:1])
    _, second = project(model, frames[1:9], first)
    kept = (first.frames, first.hidden, second.frames, second.hidden)
    assert all(frames.is_contiguous(memory_format=torch.channels_last) for frames in kept)


# Rounded activations cost about what rounded weights do: as many roundings, of independent signs. Measured: 2.0 in all.
@EITHER
def test_bf16_is_as_near_as_its_weights_allow(causal: bool) -> None:
    exact, _ = everything(prepare(tensors("lq"), causal=causal, dtype=torch.float32, device="cpu"), video())
    least, _ = everything(prepare(rounded(tensors("lq")), causal=causal, dtype=torch.float32, device="cpu"), video())
    tokens, state = everything(prepare(tensors("lq"), causal=causal, dtype=torch.bfloat16, device="cpu"), video())
    assert tokens.dtype is state.frames.dtype is torch.bfloat16
    assert distance(tokens, exact) < 3 * distance(least, exact)


def test_frames_that_fill_no_clip_are_refused() -> None:
    model, frames = projection(causal=True), video()
    with pytest.raises(ValueError, match="multiple of 4"):
        project(model, frames[1:4], start(model, frames[:1]))
