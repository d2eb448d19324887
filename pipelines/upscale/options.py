"""What a user may choose about upscaling."""

from typing import Literal, Self

from pydantic import Field, model_validator

from darkroom.pipelines.upscale.flashvsr.options import FlashVSROptions, MemoryOptions
from darkroom.pipelines.video.options import VideoOptions


class Options(VideoOptions):
    """Options of the pipeline `upscale`."""

    model: Literal["auto", "photo", "fast", "anime", "flashvsr"] = Field(
        "auto",
        description="photo: live action and anything; fast: when a CPU must keep up; anime: drawn animation; "
        "flashvsr: restores video",
    )
    scale: Literal[2, 3, 4] | None = Field(
        None, description="enlarge by this factor; null: 2 (flashvsr: 4), or what target_height asks for"
    )
    target_height: int | None = Field(
        None, ge=16, le=8640, description="enlarge to this many lines, whatever the source has"
    )
    backend: Literal["auto", "torch", "ncnn"] = Field(
        "auto", description="ncnn: exact fp32 on the CPU, where installed; auto: the faster one"
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto", description="auto: the fastest that keeps the quality on the device (bf16 for flashvsr on a GPU)"
    )
    segment_frames: int | None = Field(
        None,
        ge=8,
        description="frames between two points a crash can fall back to; null: 60-120 s of work, 120 at least",
    )
    flashvsr: FlashVSROptions = Field(FlashVSROptions(), description="the model flashvsr; docs/flashvsr.md says more")
    memory: MemoryOptions = Field(
        MemoryOptions(),
        description="how flashvsr fits the device; what is auto is stepped down as far as needed, and remembered",
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.scale is not None and self.target_height is not None:
            raise ValueError("scale and target_height exclude each other: set one of them")
        return self

    @model_validator(mode="after")
    def _one_precision(self) -> Self:
        if self.backend == "ncnn" and self.precision not in ("auto", "fp32"):
            raise ValueError(f"backend ncnn computes in fp32 only: set precision to fp32 or auto, not {self.precision}")
        return self

    @model_validator(mode="after")
    def _one_backend(self) -> Self:
        if self.backend == "ncnn" and self.model == "flashvsr":
            raise ValueError("backend ncnn runs the embedded models only: set backend to auto for flashvsr")
        return self
