from itertools import pairwise

import pytest
import torch
from goldens import distance, golden, weights
from hypothesis import given, settings
from hypothesis import strategies as some
from small_flashvsr import rounded, tensors
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr import wan_vae
from darkroom.pipelines.upscale.flashvsr.wan_vae import WanDecoder, decode, prepare

F64 = torch.float64


def decoder(dtype: torch.dtype = torch.float32, *, fold: bool = True) -> WanDecoder:
    named = weights("vae")
    named = {name: w.double() for name, w in named.items()} if dtype is F64 else named
    return prepare(named, dtype=dtype, device="cpu", fold=fold)


def latents() -> Tensor:
    """Give the reference's latents, [T, 16, h, w]."""
    return golden("vae_decode")["latents"][0].transpose(0, 1)


def small(dtype: torch.dtype = F64) -> Tensor:
    """Give four random latents of an odd size."""
    return torch.randn(4, 16, 3, 5, generator=torch.Generator().manual_seed(4), dtype=F64).to(dtype)


@pytest.mark.parametrize("fold", [True, False])
def test_a_whole_stream_gives_the_reference_frames(fold: bool) -> None:
    frames, _ = decode(decoder(fold=fold), latents(), None)
    wanted = golden("vae_decode")["frames_unclamped"][0].transpose(0, 1)
    assert frames.shape == wanted.shape
    assert distance(frames, wanted) < 2e-5


def test_merged_kernels_give_what_the_separate_ones_give() -> None:
    merged, _ = decode(decoder(F64), small(), None)
    plain, _ = decode(decoder(F64, fold=False), small(), None)
    torch.testing.assert_close(merged, plain, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=8)
@given(cuts=some.sets(some.integers(1, 3)))
def test_latents_may_come_in_any_portions(cuts: set[int]) -> None:
    model = decoder(F64)
    wanted, last = decode(model, small(), None)
    state, found = None, []
    for first, end in pairwise([0, *sorted(cuts), len(small())]):
        frames, state = decode(model, small()[first:end], state)
        found.append(frames)
    assert state is not None
    torch.testing.assert_close(torch.cat(found), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.memories, last.memories, rtol=0, atol=1e-12)


def test_the_first_latent_makes_one_frame_and_each_later_one_four() -> None:
    model = decoder()
    first, state = decode(model, small(torch.float32)[:1], None)
    second, _ = decode(model, small(torch.float32)[1:3], state)
    assert (len(first), len(second)) == (1, 8)


def test_a_frame_never_sees_a_later_latent() -> None:
    model, given_latents = decoder(F64), small()
    before, _ = decode(model, given_latents, None)
    given_latents[2:] += 1
    after, _ = decode(model, given_latents, None)
    assert torch.equal(before[:5], after[:5])
    assert not torch.equal(before[5:9], after[5:9])


def test_attention_in_portions_is_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = decode(decoder(F64), small(), None)
    monkeypatch.setattr(wan_vae, "SCORES", 4 * small()[0, 0].numel())  # four rows of the scores at once
    found, _ = decode(decoder(F64), small(), None)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("largest", [1, 1000, 30_000])
def test_volumes_too_large_to_be_counted_are_convolved_in_strips(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder(F64)
    wanted, _ = decode(model, small()[:2], None)
    monkeypatch.setattr(wan_vae, "LARGEST", largest)
    found, _ = decode(model, small()[:2], None)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_a_state_can_be_gone_on_from_twice() -> None:
    model = decoder()
    _, state = decode(model, small(torch.float32)[:2], None)
    first, _ = decode(model, small(torch.float32)[2:], state)
    again, _ = decode(model, small(torch.float32)[2:], state)
    assert torch.equal(first, again)


def test_a_state_keeps_no_more_alive_than_it_holds() -> None:
    _, state = decode(decoder(), small(torch.float32)[:2], None)
    assert all(kept.untyped_storage().nbytes() == kept.numel() * kept.element_size() for kept in state.memories)


def test_channels_lie_last_in_every_layer() -> None:
    _, state = decode(decoder(), small(torch.float32)[:2], None)
    assert all(kept.is_contiguous(memory_format=torch.channels_last) for kept in state.memories)


# As for the tiny decoder; measured: 1.9 times the error of rounded weights alone, 47.7 dB.
def test_bf16_is_as_near_as_its_weights_allow() -> None:
    def frames_of(named: dict[str, Tensor], dtype: torch.dtype, *, fold: bool = True) -> Tensor:
        return decode(prepare(named, dtype=dtype, device="cpu", fold=fold), small(), None)[0]

    wanted, least = (frames_of(named, F64) for named in (tensors("vae"), rounded(tensors("vae"))))
    frames, plain = (frames_of(tensors("vae"), torch.bfloat16, fold=fold) for fold in (True, False))
    assert frames.dtype is torch.bfloat16
    assert distance(frames, wanted) < 3 * distance(least, wanted)
    assert distance(frames, wanted) < 1.1 * distance(plain, wanted)


def test_no_latents_are_refused() -> None:
    with pytest.raises(ValueError, match="no latents"):
        decode(decoder(), small(torch.float32)[:0], None)
