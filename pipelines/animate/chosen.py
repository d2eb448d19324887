"""What this machine and these weights decide about a job: the way through memory, attention, the encoder"""

from collections import Counter
from pathlib import Path
from typing import Literal

from darkroom.kernels.device import describe
from darkroom.pipelines.animate import attention, lora
from darkroom.pipelines.animate.device import Accelerator, look
from darkroom.pipelines.animate.estimate import expected_s, in_words
from darkroom.pipelines.animate.layout import Component, check_weights
from darkroom.pipelines.animate.memory import Demand, Offload, card, decide, offloads
from darkroom.pipelines.animate.options import MemoryOptions, Options
from darkroom.pipelines.animate.parallel.limits import check_devices, check_tokens
from darkroom.pipelines.animate.plan import Chosen
from darkroom.pipelines.animate.reuse import fresh_steps
from darkroom.pipelines.animate.sizes import Size
from darkroom.pipelines.animate.weights import Weights, find
from darkroom.pipelines.base import Site
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.learned import Learned
from darkroom.pipelines.video.create import made_facts
from darkroom.pipelines.video.encode import available_encoders, choose_encoder
from darkroom.pipelines.video.options import VideoOptions

ITEMS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of a number, as safetensors calls them


def choose(options: Options, site: Site, source: Path, size: Size, frames: int) -> Chosen:
    """Give what is decided for a video of `size`. Raises Unavailable, Rejected."""
    weights, accelerator = find(site.models, options.model), look(site.device)
    check_devices(options.parallel, weights.architecture.heads, site.device)
    check_tokens(options.parallel, size, frames, source.name)
    overlays = lora.digests(site.models, options.lora)
    facts = made_facts(source, size.width, size.height, frames, options.fps)
    wish = VideoOptions(encoder=options.encoder, crf=options.crf, preset=options.preset)
    encoder, warnings = choose_encoder(wish, facts, available_encoders(), size.width, size.height)
    on_cpu = accelerator.kind == "cpu"
    precision: Literal["bf16", "fp32"] = "fp32" if on_cpu else "bf16"
    if accelerator.kind == "npu" and options.memory.quantize == "fp8":
        raise Unavailable(f"{site.device}: NPUs know no fp8; set memory.quantize: int8")
    backend = attention.choose(options.attention, accelerator, precision=precision, shared=options.parallel.ulysses > 1)
    profile = decide(
        memory_of(options),
        demand_of(options, weights, size, frames, site.models),
        allowed(options, accelerator),
        precision=precision,
        attention=backend.name,
        device_bytes=card(options.memory, accelerator.total_bytes),
        host_bytes=describe("cpu").total_bytes,
        on_cpu=on_cpu,
    )
    return Chosen(
        weights=(*weights.digests, *overlays),
        profile=profile,
        device_kind=accelerator.kind,
        encoder=encoder,
        warnings=warnings,
        models=site.models,
        why=duration(options, weights, size, frames, accelerator, site),
    )


def memory_of(options: Options) -> MemoryOptions:
    """Give the options of memory, and in them what sharing decides: a text encoder on the devices, tiles."""
    parallel = options.parallel
    tiles = {"vae_tiles": "on"} if parallel.vae else {}
    text = {"text_encoder": "device"} if parallel.text_fsdp else {}
    return options.memory.model_copy(update=tiles | text)


def allowed(options: Options, accelerator: Accelerator) -> tuple[Offload, ...]:
    """Give the ways through memory that the options allow there."""
    movable = accelerator.kind != "cpu"
    if movable and options.parallel.devices > 1:
        return ("model",)  # a rank lets go of each model whose part is done
    return offloads(options.memory, movable=movable, compiled=options.compile)


def demand_of(options: Options, weights: Weights, size: Size, frames: int, models: Path) -> Demand:
    """Give what memory is planned with. Raises Unavailable, OSError."""
    sharers = options.parallel.devices if options.parallel.text_fsdp else 1
    return Demand(
        architecture=weights.architecture,
        size=size,
        frames=frames,
        text_numbers=numbers(weights, "text_encoder") // sharers,
        image_numbers=numbers(weights, "image_encoder"),
        vae_numbers=numbers(weights, "vae"),
        lora_bytes=lora.size_bytes(models, options.lora),
        branches=branches(options),
        cached=options.attention_cache is not None,
        ulysses=options.parallel.ulysses,
        cfg=options.parallel.cfg,
        fsdp=options.parallel.fsdp,
    )


def numbers(weights: Weights, component: Component) -> int:
    """Count the numbers in the files of `component`. Raises Unavailable, OSError."""
    paths = tuple(file.path for file in weights.files if file.component == component)
    dtypes = Counter(check_weights(paths).values())
    most = dtypes.most_common(1)[0][0] if dtypes else ""
    return weights.size_bytes_of(component) // ITEMS.get(most, 1)


def branches(options: Options) -> int:
    """Give the passes of the transformer in each step."""
    return 1 if options.guidance == 1 else 2


def remembered_as(options: Options, frames: int) -> str:
    """Give what tells videos of one size apart in what the machine has learned."""
    devices = options.parallel.devices
    return f"{frames} frames, {options.model}" + (f", {devices} devices" if devices > 1 else "")


def duration(options: Options, weights: Weights, size: Size, frames: int, accelerator: Accelerator, site: Site) -> str:
    """Say how long denoising will take and what that rests on; "" if nothing tells."""
    learned = Learned(site.learned).rung(accelerator.name, size.width, size.height, remembered_as(options, frames))
    steps = options.steps if options.magcache is None else len(fresh_steps(options.steps, None, options.magcache))
    passes = steps * branches(options) // options.parallel.cfg
    found = expected_s(weights.architecture, size, frames, passes, accelerator.name, learned)
    if found is None:
        return ""
    seconds, basis = found
    if "published" in basis:
        seconds /= options.parallel.ulysses
    return f"{in_words(seconds)} of denoising, {basis}"
