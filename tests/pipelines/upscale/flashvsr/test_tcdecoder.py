from itertools import pairwise

import pytest
import torch
from goldens import distance, golden, weights
from hypothesis import given, settings
from hypothesis import strategies as some
from small_flashvsr import rounded, tensors
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.tcdecoder import TCDecoder, TCState, decode, prepare

F64 = torch.float64
FIRST, LATER = 6, 2  # latents of a stream's chunks


def decoder(dtype: torch.dtype = torch.float32, *, fold: bool = True) -> TCDecoder:
    named = weights("tcd")
    named = {name: w.double() for name, w in named.items()} if dtype is F64 else named
    return prepare(named, dtype=dtype, device="cpu", fold=fold)


def stream(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Give the reference's latents, condition and frames, each [T, ...]."""
    found = golden("tcd_stream")
    latents, condition, frames = (found[name][0].transpose(0, 1).to(dtype) for name in ("latents", "cond", "frames01"))
    return latents, condition, frames


def noise(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Give latents of any size, and their condition."""
    generator = torch.Generator().manual_seed(count)
    latents = torch.randn(count, 16, height, width, generator=generator, dtype=F64)
    return latents, torch.rand(4 * count - 3, 3, 8 * height, 8 * width, generator=generator, dtype=F64) * 2 - 1


def in_portions(model: TCDecoder, latents: Tensor, condition: Tensor, cuts: list[int]) -> tuple[Tensor, TCState | None]:
    """Give the frames of a stream decoded in calls that end at `cuts`, and the state after them."""
    state, found = None, []
    for first, end in pairwise([0, *cuts, len(latents)]):
        frames, state = decode(model, latents[first:end], condition[max(0, 4 * first - 3) : 4 * end - 3], state)
        found.append(frames)
    return torch.cat(found), state


@pytest.mark.parametrize("fold", [True, False])
def test_a_stream_gives_the_reference_frames(fold: bool) -> None:
    latents, condition, wanted = stream()
    frames, _ = in_portions(decoder(fold=fold), latents, condition, [*range(FIRST, len(latents), LATER)])
    assert frames.shape == wanted.shape
    assert distance(frames, wanted) < 2e-5


def test_merged_kernels_give_what_the_separate_ones_give() -> None:
    latents, condition = noise(3, 3, 5)
    merged, _ = decode(decoder(F64), latents, condition, None)
    plain, _ = decode(decoder(F64, fold=False), latents, condition, None)
    torch.testing.assert_close(merged, plain, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=6)
@given(cuts=some.sets(some.integers(1, 5)))
def test_latents_may_come_in_any_portions(cuts: set[int]) -> None:
    model, (latents, condition) = decoder(F64), noise(6, 2, 3)
    wanted, last = decode(model, latents, condition, None)
    found, state = in_portions(model, latents, condition, sorted(cuts))
    assert state is not None
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.last, last.last, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=10)
@given(
    height=some.integers(1, 6),
    width=some.integers(1, 3),
    strips=some.integers(2, 9),
    at_once=some.integers(1, 4),
)
def test_strips_and_portions_save_memory_and_change_nothing(height: int, width: int, strips: int, at_once: int) -> None:
    model, (latents, condition) = decoder(F64), noise(3, height, width)
    wanted, last = decode(model, latents, condition, None)
    found, state = decode(model, latents, condition, None, strips=strips, at_once=at_once)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.last, last.last, rtol=0, atol=1e-12)


def test_strips_may_change_between_calls() -> None:
    model, (latents, condition) = decoder(F64), noise(4, 5, 3)
    wanted, _ = decode(model, latents, condition, None)
    first, state = decode(model, latents[:2], condition[:5], None, strips=3)
    second, _ = decode(model, latents[2:], condition[5:], state, strips=2)
    torch.testing.assert_close(torch.cat((first, second)), wanted, rtol=0, atol=1e-12)


def test_a_state_can_be_gone_on_from_twice() -> None:
    model, (latents, condition) = decoder(), noise(3, 4, 6)
    _, state = decode(model, latents[:2], condition[:5], None)
    first, _ = decode(model, latents[2:3], condition[5:9], state)
    again, _ = decode(model, latents[2:3], condition[5:9], state)
    assert torch.equal(first, again)


def test_a_state_keeps_one_frame_of_each_block_alive_and_no_more() -> None:
    latents, condition, _ = stream()
    _, state = decode(decoder(), latents, condition, None)
    assert len(state.last) == 9
    assert all(last.untyped_storage().nbytes() == last.numel() * last.element_size() for last in state.last)


def test_channels_lie_last_in_every_block() -> None:
    latents, condition, _ = stream()
    _, state = decode(decoder(), latents, condition, None)
    assert all(last.is_contiguous(memory_format=torch.channels_last) for last in state.last)


# Rounding the weights alone, which no arithmetic can mend, leaves 46.1 dB of these weights; bf16 throughout 42.6 dB,
# merged or not, which is 1.5 times the error.
def test_bf16_is_as_near_as_its_weights_allow() -> None:
    latents, condition = noise(10, 4, 6)

    def frames_of(named: dict[str, Tensor], dtype: torch.dtype, *, fold: bool = True) -> Tensor:
        return decode(prepare(named, dtype=dtype, device="cpu", fold=fold), latents, condition, None)[0]

    wanted, least = (frames_of(named, F64) for named in (tensors("decoder"), rounded(tensors("decoder"))))
    frames, plain = (frames_of(tensors("decoder"), torch.bfloat16, fold=fold) for fold in (True, False))
    assert frames.dtype is torch.bfloat16
    assert distance(frames, wanted) < 3 * distance(least, wanted)
    assert distance(frames, wanted) < 1.1 * distance(plain, wanted)


def test_a_condition_of_another_length_is_refused() -> None:
    latents, condition = noise(3, 4, 6)
    with pytest.raises(ValueError, match="frames for 2 latents"):
        decode(decoder(), latents[:2], condition[:8], None)
