"""What a user may choose about the video that comes out: encoder, quality, container."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EncoderName = Literal["libx264", "libx265", "libsvtav1", "h264_nvenc", "hevc_nvenc", "av1_nvenc"]


class VideoOptions(BaseModel):
    """The options every pipeline shares whose result is a video."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: EncoderName = Field(
        "libx264", description="video encoder; one that is missing falls back to libx264, and the report says so"
    )
    crf: int = Field(
        17, ge=0, le=51, description="constant quality: 0 is best, 17 is visually lossless for x264 (nvenc: cq)"
    )
    preset: str | None = Field(
        None, description="speed against size, in the encoder's own words; null: libx264 fast, libsvtav1 6, nvenc p5"
    )
    pixel_format: Literal["auto", "yuv420p", "yuv422p", "yuv444p"] = Field(
        "auto", description="chroma layout; auto: as the source"
    )
    container: Literal["auto", "mp4", "mov", "mkv"] = Field(
        "auto", description="auto: as the source where every stream fits, else mkv"
    )
