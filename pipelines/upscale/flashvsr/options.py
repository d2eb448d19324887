"""What a user may choose about FlashVSR: the model, how it attends, and how its memory is kept within bounds"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, TypeAdapter, model_validator

Version = Literal["auto", "1", "1.1"]
Variant = Literal["tiny", "tiny-long", "full"]
Preset = Literal["fast", "balanced", "stable"]
Attention = Literal["auto", "sparse", "sparse-int8", "torch", "dense", "sage", "flash"]
ColorFix = Literal["adain", "wavelet", "off"]
LeadIn = Literal[0, 21, 29, 45]
VramProfile = Literal["auto", "8GB", "12GB", "16GB", "24GB", "32GB", "48GB", "80GB"]

LEAST_SIZE = 1 << 20  # of what a person means
_SIZE = TypeAdapter(ByteSize)


def _size_bytes(raw: Any) -> int:
    try:
        size_bytes = int(_SIZE.validate_python(raw))
    except ValueError:
        size_bytes = 0
    if size_bytes < LEAST_SIZE:  # a bare 12 is no 12 bytes
        raise ValueError("expected a size with a unit, such as 10 GiB")
    return size_bytes


Size = Annotated[int, BeforeValidator(_size_bytes)]
SizeOrAuto = Annotated[Size | None, BeforeValidator(lambda raw: None if raw == "auto" else raw)]
Wish = Literal["auto", True, False]
# YAML makes numbers of versions, and a truth value of `off`.
VersionText = Annotated[Version, BeforeValidator(lambda raw: {"1.0": "1"}.get(str(raw), str(raw)))]
ColorFixText = Annotated[ColorFix, BeforeValidator(lambda raw: "off" if raw is False else raw)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the options come to once the preset has filled what was left open."""

    sparse_ratio: float
    kv_windows: int
    local_range: int
    attention: Attention
    lead_in: LeadIn
    attention_named: bool = False  # by a person: where it is missing the job fails; what a preset wishes falls back


PRESETS: dict[Preset, Settings] = {
    # The authors' fast pair (1.5 with range 9: two thirds of the attention of 2.0), int8 products, and the shortest
    # replay that fills the memory of a fresh stream.
    "fast": Settings(sparse_ratio=1.5, kv_windows=3, local_range=9, attention="sparse-int8", lead_in=21),
    # As published: what the weights were trained and shown with.
    "balanced": Settings(sparse_ratio=2.0, kv_windows=3, local_range=11, attention="auto", lead_in=29),
    # The published values computed in 16 bits or more, whatever is faster here, and a replay of four chunks, so that
    # segments join more closely.
    "stable": Settings(sparse_ratio=2.0, kv_windows=3, local_range=11, attention="sparse", lead_in=45),
}


class Part(BaseModel):
    """A part of the options: frozen, without unknown keys; left empty it has its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, raw: Any) -> Any:
        return {} if raw is None else raw


class FlashVSROptions(Part):
    """Options of the model `flashvsr` alone."""

    version: VersionText = Field("auto", description="which weights; auto: 1.1 where both are there")
    variant: Variant = Field(
        "tiny",
        description="tiny: the small decoder, tiny-long the same: memory is constant; full: the large one, slower",
    )
    preset: Preset | None = Field(None, description="fills what is null below; null: balanced")
    sparse_ratio: float | None = Field(
        None, ge=1, le=4, description="share of attention that is computed; null: fast 1.5, balanced and stable 2"
    )
    kv_windows: int | None = Field(None, ge=2, le=4, description="units of 8 frames that the model remembers; null: 3")
    local_range: int | None = Field(
        None,
        ge=7,
        le=15,
        description="windows of 128 pixels seen around each; null: fast 9 (sharper), balanced and stable 11 (steadier)",
    )
    attention: Attention = Field(
        "auto", description="auto: as the preset says, else the fastest that is here; torch: the slow definition"
    )
    lead_in: LeadIn | None = Field(
        None, description="frames replayed before each segment; null: fast 21, balanced 29, stable 45"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the noise; equal seeds give equal pictures")
    color_fix: ColorFixText = Field(
        "adain", description="colours as in the source: by statistics, by wavelet bands, or off"
    )

    @property
    def settings(self) -> Settings:
        """What was set, and of the preset what was not."""
        preset = PRESETS[self.preset or "balanced"]
        return Settings(
            sparse_ratio=preset.sparse_ratio if self.sparse_ratio is None else self.sparse_ratio,
            kv_windows=self.kv_windows or preset.kv_windows,
            local_range=self.local_range or preset.local_range,
            attention=preset.attention if self.attention == "auto" else self.attention,
            lead_in=preset.lead_in if self.lead_in is None else self.lead_in,
            attention_named=self.attention != "auto",
        )


class MemoryOptions(Part):
    """How `flashvsr` fits the device; what is auto is stepped down as far as needed, and remembered."""

    profile: VramProfile = Field(
        "auto", description="plan for a card of this size, whatever is here; auto: for the memory that is free"
    )
    limit: Size | None = Field(None, description="use no more device memory than this, such as 10 GiB; null: no limit")
    kv_offload: Literal["auto", "cpu", "none"] = Field(
        "auto", description="keep what the model remembers in host memory (cpu) or on the device (none)"
    )
    kv_offload_threshold: SizeOrAuto = Field(
        None, description="kv_offload auto: cpu on devices of this size or less; null: where the estimate asks for it"
    )
    tiled_vae: Wish = Field("auto", description="decode each picture in parts; changes no pixel of variant tiny")
    tiled_dit: Wish = Field(
        "auto", description="enlarge overlapping tiles of the picture one by one; auto: the last resort"
    )
    tile_size: int | None = Field(
        None, ge=64, le=2048, description="side of a tile in source pixels; null: 512, or less where memory asks for it"
    )
    tile_overlap: int | None = Field(
        None,
        ge=16,
        le=512,
        description="source pixels that tiles share; null: a quarter of a tile, 64 at least",
    )
    unload_dit: Wish = Field(
        "auto", description="keep the transformer's weights in host memory, and the block that computes on the device"
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.tile_size and self.tile_overlap and 2 * self.tile_overlap > self.tile_size:
            raise ValueError(
                f"tile_overlap {self.tile_overlap} is more than half of tile_size {self.tile_size}: lower it"
            )
        return self
