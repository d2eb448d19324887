"""What a user may choose about a video made from an image: the prompt, size and length, solver, memory, devices"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from darkroom.pipelines.animate.sizes import FEWEST_FRAMES, MOST_FRAMES, Fit, parse_size
from darkroom.pipelines.trust import below_models
from darkroom.pipelines.video.options import EncoderName

Attention = Literal["auto", "sdpa", "flash", "flash3", "cudnn", "sage", "npu"]
Offload = Literal["auto", "none", "blocks", "model"]
Quantize = Literal["auto", "none", "fp8", "int8"]
Solver = Literal["unipc", "dpm++", "euler"]
CardSize = Literal["auto", "24GB", "32GB", "80GB"]

# sample_neg_prompt of wan/configs in the official code of Wan2.1, with what it puts before it for images.
NEGATIVE = (
    "镜头晃动，色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


def _size(text: str) -> str:
    parse_size(text)
    return text


SizeText = Annotated[str, AfterValidator(_size)]
OffOrText = BeforeValidator(lambda raw: {False: "off", True: "on"}.get(raw, raw) if isinstance(raw, bool) else raw)


class Section(BaseModel):
    """A group of options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AttentionCache(Section):
    """Reuse of a block's self-attention from one step to the next."""

    start: int = Field(12, ge=0, le=100, description="last step that is always computed, counted from 0")
    interval: int = Field(4, ge=2, le=20, description="of so many steps after it, one is computed")
    end: int = Field(37, ge=1, le=100, description="last step that may reuse")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end, {self.end}, must lie after start, {self.start}")
        return self


class MagCache(Section):
    """Reuse of whole steps where the model's output is known to change little."""

    threshold: float = Field(0.06, gt=0, le=1, description="error that may add up before a step is computed again")
    most_skips: int = Field(3, ge=1, le=20, description="steps in a row that may be skipped")
    keep: float = Field(0.2, ge=0, lt=1, description="share of the first steps that are always computed")
    ratios: tuple[float, ...] = Field(
        min_length=2,
        max_length=1000,
        description="how much the output changes from step to step, as measured for this model; see docs/animate.md",
    )


class Lora(Section):
    """Weights laid over the transformer's."""

    file: Path = Field(description="a .safetensors file; relative to the models folder")
    weight: float = Field(1.0, ge=-4, le=4, description="how strongly it counts")


def _in_models(loras: tuple[Lora, ...]) -> tuple[Lora, ...]:
    for lora in loras:  # here, for a plan names their files in full
        below_models(lora.file)
    return loras


Loras = Annotated[tuple[Lora, ...], AfterValidator(_in_models)]


class MemoryOptions(Section):
    """How the model fits into the memory there is."""

    profile: CardSize = Field("auto", description="plan for a card of this size; auto: for the one there is")
    offload: Offload = Field(
        "auto", description="keep the transformer in host memory and bring in its blocks, or whole models, when needed"
    )
    quantize: Quantize = Field(
        "auto", description="the transformer's weights in 8 bits: half the memory, slightly other pictures"
    )
    text_encoder: Literal["auto", "cpu", "device"] = Field("auto", description="where the prompt is read")
    vae_tiles: Annotated[Literal["auto", "on", "off"], OffOrText] = Field(
        "auto", description="decode in tiles: less memory, slightly other pictures"
    )
    embedding_cache: bool = Field(True, description="keep what the text encoder made of a prompt for the next job")


class ParallelOptions(Section):
    """Several devices on one job, from the worker's own on; all by torch.distributed."""

    ulysses: int = Field(1, ge=1, le=16, description="devices that share each pass of the transformer (by heads)")
    cfg: int = Field(
        1, ge=1, le=2, description="2: one half of the devices sees the prompt, the other the negative one"
    )
    fsdp: bool = Field(False, description="each device holds a share of the transformer's weights")
    text_fsdp: bool = Field(False, description="and of the text encoder's")
    vae: bool = Field(False, description="the devices share the tiles of decoding")

    @property
    def devices(self) -> int:
        """How many devices a job takes."""
        return self.ulysses * self.cfg


class Options(Section):
    """Options of the pipeline `animate`."""

    prompt: str | None = Field(
        None, min_length=1, max_length=4000, description="what happens in the video; without one an image waits"
    )
    negative_prompt: str | None = Field(
        None, max_length=4000, description="what is not wanted; null: what the model's authors advise, in Chinese"
    )
    size: SizeText = Field(
        "480p",
        description='"480p", "720p" or "WIDTHxHEIGHT"; with fit: keep as many pixels in the image\'s shape',
    )
    fit: Fit = Field(
        "keep", description="keep the image's shape, crop or pad it to that of size, or stretch it, which distorts"
    )
    frames: int = Field(
        81, ge=FEWEST_FRAMES, le=MOST_FRAMES, description="length, rounded to 4n+1; beyond 81 the model repeats itself"
    )
    fps: int = Field(16, ge=1, le=120, description="frames a second; the model knows 16")
    guidance: float = Field(
        5.0, ge=1, le=20, description="how closely the prompt is followed; 1: not guided, half the time"
    )
    steps: int = Field(40, ge=1, le=100, description="of denoising; 4 to 8 with a distilled LoRA")
    seed: int | None = Field(
        None, ge=0, lt=2**31, description="of the noise; null: drawn from image and prompt, and the report tells it"
    )
    solver: Solver = Field("unipc", description="how a step is taken; unipc gives the official numbers")
    shift: float | None = Field(
        None, gt=0, le=20, description="of the noise towards the first steps; null: 3 for 480P, 5 for 720P"
    )
    model: str = Field(
        "wan2.1-i2v", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder of the weights in the models folder"
    )
    attention: Attention = Field("auto", description="what computes attention; auto: the fastest exact one here")
    attention_cache: AttentionCache | None = Field(
        None, description="reuse self-attention between steps: faster, other pictures, much memory"
    )
    magcache: MagCache | None = Field(None, description="skip steps that change little: faster, other pictures")
    lora: Annotated[tuple[Lora, ...], AfterValidator(_in_models)] = Field(
        (), max_length=8, description="weights laid over the transformer's"
    )
    compile: bool = Field(False, description="compile the blocks: minutes at the start, faster steps after")
    memory: MemoryOptions = Field(MemoryOptions(), description="how it fits into memory; docs/animate.md says more")
    parallel: ParallelOptions = Field(ParallelOptions(), description="several devices on one job")
    segment_steps: int | None = Field(
        None, ge=1, le=100, description="steps between two points a crash can fall back to; null: a tenth of all"
    )
    time_limit_s: float | None = Field(
        None, gt=0, description="seconds after which a job is given up; null: only one that does not move is"
    )
    encoder: EncoderName = Field(
        "libx264", description="video encoder; one that is missing falls back to libx264, and the report says so"
    )
    crf: int = Field(17, ge=0, le=51, description="constant quality: 0 is best, 17 is visually lossless for x264")
    preset: str | None = Field(None, description="speed against size, in the encoder's own words")
    container: Literal["mp4", "mkv"] = Field("mp4", description="of the video")
    poster: bool = Field(False, description="write the first frame beside it, as .jpg")
    last_image: bool = Field(False, description="write the last frame beside it, as .png: the next video's beginning")

    @model_validator(mode="after")
    def _one_cache(self) -> Self:
        if self.attention_cache and self.magcache:
            raise ValueError("attention_cache and magcache reuse the same steps; choose one")
        if self.magcache and self.parallel.devices > 1:
            raise ValueError("magcache decides on each device for itself, so that they would wait for each other")
        if self.parallel.cfg == 2 and self.guidance == 1:
            raise ValueError("parallel.cfg: 2 shares out the two passes of guidance; guidance: 1 has one")
        return self

    @model_validator(mode="after")
    def _compiled(self) -> Self:
        if self.compile and self.memory.offload == "blocks":
            raise ValueError("compile: blocks that come and go are compiled anew each time; leave one of the two out")
        if self.compile and (self.attention_cache or self.magcache):
            raise ValueError("compile: what is reused is decided in the middle of a block; leave one of the two out")
        return self

    @model_validator(mode="after")
    def _sharded(self) -> Self:
        if (self.parallel.fsdp or self.parallel.text_fsdp or self.parallel.vae) and self.parallel.devices == 1:
            raise ValueError("parallel: fsdp, text_fsdp and vae need several devices; set ulysses or cfg")
        if self.parallel.devices > 1 and self.memory.offload in ("blocks", "model"):
            raise ValueError("parallel: weights that are offloaded cannot be shared out; choose fsdp or offload: none")
        if self.parallel.vae and self.memory.vae_tiles == "off":
            raise ValueError("parallel.vae shares out tiles; leave memory.vae_tiles: off out")
        if self.parallel.text_fsdp and self.memory.text_encoder == "cpu":
            raise ValueError("parallel.text_fsdp shares the text encoder out; leave memory.text_encoder: cpu out")
        if self.parallel.fsdp and self.memory.quantize in ("fp8", "int8"):
            raise ValueError("parallel.fsdp needs weights of one type; leave memory.quantize out")
        if self.parallel.fsdp and (self.lora or self.compile):
            raise ValueError("parallel.fsdp shares out the weights as they are; leave lora and compile out")
        return self
