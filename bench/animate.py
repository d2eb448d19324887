"""A step of animate: milliseconds, share of the device's limit and memory, as it is and with each way of saving."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from rows import Asked, Row, asked, memory_mb, publish
from timing import milliseconds

from darkroom.kernels.device import matmul_rate
from darkroom.pipelines.animate.attention import BACKENDS, attending, obstacle
from darkroom.pipelines.animate.denoise import guided
from darkroom.pipelines.animate.device import look
from darkroom.pipelines.animate.encode import WORDS, Conditions
from darkroom.pipelines.animate.estimate import operations
from darkroom.pipelines.animate.offload import stream, unstream
from darkroom.pipelines.animate.quantize import quantize
from darkroom.pipelines.animate.sizes import Size
from darkroom.pipelines.animate.tiny import TRANSFORMER
from darkroom.pipelines.animate.weights import Architecture

SECTION = "animate"
GUIDANCE = 5.0
IMAGE_TOKENS = 257  # of CLIP
# The transformer's configuration as published with Wan2.1-I2V-14B.
PUBLISHED = {
    "num_attention_heads": 40,
    "attention_head_dim": 128,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 13824,
    "num_layers": 40,
    "image_dim": 1280,
    "added_kv_proj_dim": 5120,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A video whose steps are measured."""

    config: dict[str, Any]
    size: Size
    frames: int
    dtype: torch.dtype
    device: torch.device

    @property
    def architecture(self) -> Architecture:
        """What the operations are counted by."""
        config = self.config
        return Architecture(
            layers=config["num_layers"],
            heads=config["num_attention_heads"],
            head_width=config["attention_head_dim"],
            ffn_width=config["ffn_dim"],
            text_width=config["text_dim"],
            image_width=config["image_dim"],
            in_channels=config["in_channels"],
            latent_channels=config["out_channels"],
            patch=(1, 2, 2),
            temporal_scale=4,
            spatial_scale=8,
        )


def main() -> None:
    ask = asked(__doc__ or "")
    found = [row for case in cases(ask) for row in rows(case, ask)]
    publish(SECTION, found, notes(), ask)


def cases(ask: Asked) -> list[Case]:
    """Return the videos: real ones where there is a GPU, a tiny one elsewhere."""
    if torch.cuda.is_available() and not ask.quick:
        sizes = (Size(832, 480), Size(1280, 720))
        device = torch.device("cuda", 0)
        return [Case(config=PUBLISHED, size=size, frames=81, dtype=torch.bfloat16, device=device) for size in sizes]
    size = Size(64, 48) if ask.quick else Size(256, 128)
    return [Case(config=TRANSFORMER, size=size, frames=5, dtype=torch.float32, device=torch.device("cpu"))]


def notes() -> list[str]:
    if torch.cuda.is_available():
        return [f"On {torch.cuda.get_device_name()}, random weights: as costly as trained ones."]
    return ["No GPU here: a tiny model on the processor, to show that the program works. **On a GPU: not measured.**"]


@torch.no_grad()
def rows(case: Case, ask: Asked) -> Iterator[Row]:
    """Yield a row for each way of computing a step; one that cannot be had says why."""
    limit = matmul_rate(str(case.device), "bf16" if case.dtype == torch.bfloat16 else "fp32", budget_s=0.2)
    accelerator = look(str(case.device))
    precision = "bf16" if case.dtype == torch.bfloat16 else "fp32"
    model = transformer(case)
    for backend in BACKENDS:
        why = obstacle(backend, accelerator, precision=precision, shared=False)
        name = f"attention by {backend.name}"
        yield refused(case, name, why) if why else tried(case, name, model, limit, ask, attending(backend.name))
    yield tried(case, "not guided, one pass", model, limit, ask, nullcontext(), passes=1)
    with ExitStack() as undo:
        stream(model.cpu(), case.device, pinned=case.device.type == "cuda")
        undo.callback(unstream, model)
        yield tried(case, "blocks streamed from host memory", model, limit, ask, nullcontext())
    for format in ("fp8", "int8"):
        del model
        gc.collect()
        model = transformer(case)
        quantize(model.blocks, format, case.device)
        yield tried(case, f"weights in {format}", model, limit, ask, nullcontext())


def transformer(case: Case) -> Any:
    """Return the transformer with random weights, made on the device: 33 GB would take minutes to bring there."""
    with torch.device("meta"):
        model = WanTransformer3DModel(**case.config)
    rope = WanTransformer3DModel(**{**case.config, "num_layers": 1, "ffn_dim": 8}).rope  # its tables are no weights
    model = model.to(case.dtype).to_empty(device=case.device)
    model.rope = rope.to(case.device)
    numbers = torch.Generator(case.device).manual_seed(20)
    for tensor in model.parameters():
        tensor.normal_(0, 0.02, generator=numbers)
    return model.eval().requires_grad_(False)


def tried(
    case: Case,
    name: str,
    model: Any,
    limit: float,
    ask: Asked,
    way: AbstractContextManager[object],
    passes: int = 2,
) -> Row:
    """Return the row of one way; one that fails says so and costs the others nothing."""
    try:
        with way:
            return row(case, name, step(case, model, passes), limit, ask, passes)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        return refused(case, name, f"failed: {' '.join(str(error).split())[:120]}")


def step(case: Case, model: Any, passes: int) -> Callable[[int], object]:
    """Return what does the transformer's part of one step."""
    numbers = torch.Generator(case.device).manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=case.device, generator=numbers)

    config = case.config
    shape = ((case.frames - 1) // 4 + 1, case.size.height // 8, case.size.width // 8)
    words = drawn(1, WORDS, config["text_dim"]).to(case.dtype)
    conditions = Conditions(
        prompt=words,
        negative=words.flip(1) if passes == 2 else None,
        image=drawn(1, IMAGE_TOKENS, config["image_dim"]).to(case.dtype),
        picture=drawn(1, config["in_channels"] - config["out_channels"], *shape),
    )
    predict = guided(model, conditions, GUIDANCE)
    latents, timestep = drawn(1, config["out_channels"], *shape), torch.tensor(900, device=case.device)
    return lambda _: predict(latents, timestep)


def row(case: Case, name: str, work: Callable[[int], object], limit: float, ask: Asked, passes: int) -> Row:
    """Measure `work` and return its row."""
    cuda = case.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(case.device)
    ms = milliseconds(work, case.device, repeats=3, budget_s=0.1 if ask.quick else 60.0)
    peak = torch.cuda.max_memory_allocated(case.device) / 2**30 if cuda else memory_mb("VmHWM") / 1024
    flop = passes * operations(case.architecture, case.size, case.frames)
    share = 100 * flop / 1e12 / (ms / 1000) / limit
    return {
        **of(case, name),
        "ms a step": ms,
        "TFLOP": flop / 1e12,
        "% of limit": share,
        "peak GiB": peak,
        "remark": "",
    }


def refused(case: Case, name: str, why: str) -> Row:
    """Return the row of a way that could not be measured."""
    return {**of(case, name), "ms a step": "–", "TFLOP": "–", "% of limit": "–", "peak GiB": "–", "remark": why}


def of(case: Case, name: str) -> Row:
    return {"video": f"{case.size}, {case.frames} frames", "a step, transformer alone": name}


if __name__ == "__main__":
    main()
