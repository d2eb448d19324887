"""FlashVSR ready to run, loaded once and shared by all jobs that want the same"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import torch

from darkroom.kernels.backend import choose
from darkroom.kernels.device import DTYPES, Precision, is_full, release
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr import dit, lq_projection, tcdecoder, wan_vae
from darkroom.pipelines.upscale.flashvsr.files import Weights
from darkroom.pipelines.upscale.flashvsr.model import FlashVSR
from darkroom.pipelines.upscale.flashvsr.options import Attention
from darkroom.pipelines.upscale.flashvsr.plan import FlashPlan
from darkroom.pipelines.upscale.flashvsr.prepare import canvas_size
from darkroom.pipelines.upscale.flashvsr.tcdecoder import TCDecoder
from darkroom.pipelines.upscale.flashvsr.wan_vae import WanDecoder
from darkroom.pipelines.upscale.flashvsr.weights import load as load_weights

log = logging.getLogger(__name__)


def load(
    weights: Weights,
    attention: Attention,
    precision: Precision,
    device: str,
    *,
    required: bool = True,
    unload_dit: bool = False,
) -> FlashVSR:
    """Give the model of `weights` on `device`, not yet told what film it is for.

    required:    nothing but `attention` will do; else the next best, said aloud
    unload_dit:  keep the transformer's blocks in host memory
    Raises Unavailable if a file cannot be read or does not hold what it should, the required attention is not here, or
    memory does not suffice.
    """
    wanted = partial(kept, weights, attention, precision, device, required, unload_dit)
    if (model := _unless_full(wanted, log.info)) is not None:
        return model
    kept.cache_clear()  # of other weights, or for another way of running: both would have to fit
    release()
    model = _unless_full(wanted, log.error)
    if model is None:
        raise Unavailable(
            f"flashvsr: its weights do not fit in the memory of {device} now; free it, or set model: photo"
        )
    return model


def _unless_full(wanted: Callable[[], FlashVSR], say: Callable[..., None]) -> FlashVSR | None:
    """Give what is `wanted`, None where memory does not suffice for it: then nothing holds on to any part of it."""
    try:
        return wanted()
    except (RuntimeError, MemoryError) as error:
        if not is_full(error):
            raise
        say("flashvsr: out of memory as the weights were loaded: %s", " ".join(str(error).split()))
    return None


@lru_cache(maxsize=1)  # kept warm between the jobs of one process; a job with other weights replaces it
def kept(
    weights: Weights, attention: Attention, precision: Precision, device: str, required: bool, unload_dit: bool
) -> FlashVSR:
    """Do what `load` says."""
    dtype, where = DTYPES[precision], torch.device(device)
    if where.type == "cuda":
        torch.cuda.set_device(where)  # Triton launches on the current device
    try:
        ops = choose(device, attention=attention, dtype=dtype, required=required)
    except ValueError as error:
        raise Unavailable(f"flashvsr: {error}") from error
    loaded = load_weights(weights)
    home = torch.device("cpu") if unload_dit else where
    a = loaded.architecture
    if loaded.vae is not None:
        decoder: TCDecoder | WanDecoder = wan_vae.prepare(loaded.vae, dtype=dtype, device=where)
    else:
        assert loaded.decoder is not None, "a set holds one decoder or the other"
        decoder = tcdecoder.prepare(loaded.decoder, dtype=dtype, device=where)
    model = FlashVSR(
        dit=dit.prepare(loaded.dit, loaded.prompt, heads=a.heads, dtype=dtype, device=where, home=home),
        lq=lq_projection.prepare(loaded.lq, causal=weights.causal, dtype=dtype, device=where),
        decoder=decoder,
        ops=ops,
        dtype=dtype,
        device=where,
        sparsity=dit.Sparsity(topk_ratio=1.0, local_range=11),
    )
    log.info("flashvsr %s: loaded, %s in %s on %s", weights.version, ops.name, precision, device)
    return model


def told(model: FlashVSR, plan: FlashPlan) -> FlashVSR:
    """Give `model` with the settings of `plan`; the weights are shared."""
    ratio = dit.topk_ratio(plan.sparse_ratio, *canvas_size(plan.height, plan.width))
    return replace(
        model,
        sparsity=dit.Sparsity(topk_ratio=ratio, local_range=plan.local_range),
        kv_windows=plan.kv_windows,
        color_fix=plan.color_fix,
    )
