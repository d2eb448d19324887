"""What each thing done for speed is worth: the same chunk of FlashVSR without it, and with what saves memory."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from agreement import BOUNDS, hold
from einops import rearrange
from rows import Row
from stages import SCALE, Project, Taken, Trial, run
from torch import Tensor
from weights import drawn, moving

from darkroom.kernels.backend import TORCH, Attention, choose
from darkroom.kernels.channel_norm import norm_silu
from darkroom.pipelines.upscale.flashvsr import lq_projection, tcdecoder, wan_vae
from darkroom.pipelines.upscale.flashvsr.architecture import Architecture
from darkroom.pipelines.upscale.flashvsr.model import FlashVSR
from darkroom.pipelines.upscale.flashvsr.prepare import low_quality

Change = Callable[[FlashVSR], Trial]
AGAIN = "as it is, again"  # how far the machine itself has drifted meanwhile
STAGES = ("projection", "transformer", "decoder", "colours")


def rows(model: FlashVSR, a: Architecture, plain: Taken, height: int, width: int, chunks: int) -> Iterator[Row]:
    """Yield a row for each change, beside that of the model as it is, which took `plain`.

    A change that cannot be run here, or that is wrong, has a row that says so.
    """
    yield row("as it is", plain, plain)
    tried: dict[str, Change] = {**changes(a, height, width), AGAIN: lambda model: Trial(model=model)}
    for name, change in tried.items():
        try:
            # Nothing else of what it returns: the state holds gigabytes, and would count in the peak of the next.
            taken = run(change(model), height, width, chunks)[0]
        except Exception as error:  # of a library, its compiler or the memory: the other rows are worth having
            yield missing(name, str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        else:
            yield row(name, taken, plain)


def row(name: str, taken: Taken, plain: Taken) -> Row:
    return {
        "FlashVSR": name,
        "ms a chunk": taken.whole,
        "FPS": 8000 / taken.whole,
        "times as long": taken.whole / plain.whole,
        **{f"{stage}, ms": taken.steady[stage] for stage in STAGES},
        "peak, GiB": "–" if taken.peak is None else taken.peak,
        "remark": "",
    }


def missing(name: str, why: str) -> Row:
    columns = ("ms a chunk", "FPS", "times as long", *(f"{stage}, ms" for stage in STAGES), "peak, GiB")
    return {"FlashVSR": name, **dict.fromkeys(columns, "–"), "remark": f"not here: {why[:160]}"}


def changes(a: Architecture, height: int, width: int) -> dict[str, Change]:
    """Return ways to run a model otherwise, by name; those that raise ValueError are not to be had here."""

    def ops(**by: object) -> Change:
        return lambda model: Trial(model=replace(model, ops=replace(model.ops, **by)))  # type: ignore[arg-type]

    def attending(attention: Attention) -> Change:
        def change(model: FlashVSR) -> Trial:
            chosen = choose(str(model.device), attention=attention, dtype=model.dtype)
            return Trial(model=replace(model, ops=replace(model.ops, windowed=chosen.windowed)))

        return change

    def setting(**to: object) -> Change:
        return lambda model: Trial(model=replace(model, **to))  # type: ignore[arg-type]

    def nothing(model: FlashVSR) -> Trial:
        return Trial(model=unmerged(replace(model, ops=TORCH), a), project=projection_3d(model, height, width))

    return {
        "norms, gates, RoPE by their definitions": ops(
            norm_rope=TORCH.norm_rope, rms_norm=TORCH.rms_norm, gated_norm=TORCH.gated_norm
        ),
        "attention by its definition": attending("torch"),
        "attention to all keys, by torch (other pictures)": attending("dense"),
        "attention to all keys, by sageattention (other pictures)": attending("sage"),
        "attention with int8 products": attending("sparse-int8"),
        "colours by their definition": ops(adain=TORCH.adain),
        "projection by 3-D convolutions": lambda model: Trial(model=model, project=projection_3d(model, height, width)),
        "doublings not merged into convolutions": lambda model: Trial(model=unmerged(model, a)),
        "all of the above by definition": nothing,
        "cuDNN trying its ways out": lambda model: Trial(model=model, try_out=True),
        "keys and values in host memory": setting(kv_offload=True),
        "one latent decoded at a time": setting(decoder_at_once=1),
        "decoder in 4 strips": setting(decoder_strips=4),
    }


def unmerged(model: FlashVSR, a: Architecture) -> FlashVSR:
    """Return `model` with a decoder whose doublings are separate, as published."""
    large = isinstance(model.decoder, wan_vae.WanDecoder)
    weights = drawn(a, "vae" if large else "decoder", model.dtype, model.device)
    prepare = wan_vae.prepare if large else tcdecoder.prepare
    return replace(model, decoder=prepare(weights, dtype=model.dtype, device=model.device, fold=False))


def projection_3d(model: FlashVSR, height: int, width: int) -> Project:
    """Return the projection as published, by convolutions over time and space; held against ours first.

    Raises Disagreement.
    """
    split = "o (t c) y x -> o c t y x"
    kernels = [rearrange(layer.weight, split, t=lq_projection.TAPS) for layer in (model.lq.first, model.lq.second)]
    kernels = [kernel.contiguous() for kernel in kernels]

    def project(
        lq: lq_projection.LQProjection, frames: Tensor, state: lq_projection.LQState
    ) -> tuple[Tensor, lq_projection.LQState]:
        side = lq_projection.PATCH
        x = torch.cat((state.frames, rearrange(frames, "t c (h y) (w x) -> t (c y x) h w", y=side, x=side)))
        hidden = torch.cat((state.hidden, _convolve(lq.first, kernels[0], x)))
        y = _convolve(lq.second, kernels[1], hidden)
        state = lq_projection.LQState(frames=x[-2:].clone(), hidden=hidden[-2:].clone())
        return F.linear(y.permute(0, 2, 3, 1), lq.linear, lq.bias), state

    pictures = moving(5, height // SCALE, width // SCALE).to(model.device)
    frames = low_quality(pictures, height, width, model.dtype)
    state = lq_projection.start(model.lq, frames[:1])
    found, wanted = (way(model.lq, frames[1:], state)[0] for way in (project, lq_projection.project))
    hold("the projection by 3-D convolutions", found, wanted, 2 * BOUNDS[model.dtype])
    return project


def _convolve(layer: lq_projection.Layer, kernel: Tensor, frames: Tensor) -> Tensor:
    volume = F.pad(frames.transpose(0, 1)[None], (1, 1, 1, 1, 0, 0), mode="replicate")
    made = F.conv3d(volume, kernel, layer.bias, stride=(2, 1, 1))[0].transpose(0, 1)
    return norm_silu(made.contiguous(), layer.gamma)
