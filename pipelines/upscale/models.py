"""The embedded models as plain facts: what the plan needs to know without loading anything."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One embedded network."""

    name: str
    title: str
    scales: tuple[int, ...]  # what one pass of the net can do
    halo: int  # pixels around a pixel that decide what it becomes
    macs: int  # multiply-adds per input pixel
    efficiency: float  # share of a device's peak it reaches: thin layers wait for memory
    channels: int  # numbers per input pixel alive at once at the widest point: what strips are sized by
    sha256: str  # of weights/<name>.safetensors

    @property
    def file(self) -> str:
        """Name of the weight file."""
        return f"{self.name}.safetensors"


MODELS = {
    model.name: model
    for model in (
        Model(
            name="photo",
            title="waifu2x upconv_7 photo, noise 1",
            scales=(2,),
            halo=7,  # six 3x3 layers, and a deconvolution that reaches one pixel
            macs=567_000,
            efficiency=0.8,
            channels=640,
            sha256="87aa75e8d859c489d771315fcace175e08f209af1c5d3c9bd3259266a3755c26",
        ),
        Model(
            name="fast",
            title="Anime4K v3.2 Upscale CNN x2 VL",
            scales=(2,),
            halo=7,  # seven 3x3 layers; the bilinear base reaches one pixel
            macs=8_700,
            efficiency=0.2,
            channels=240,
            sha256="fb8ad7bb2dceaf28ec06a838ac36d1ab729ad4d616ff26562f9e93b893879506",
        ),
        Model(
            name="anime",
            title="realesr-animevideov3",
            scales=(2, 4),
            halo=19,  # eighteen 3x3 layers; the bicubic half size of x2 reaches one pixel more
            macs=620_000,
            efficiency=0.9,
            channels=176,
            sha256="e9ef12362310e52f87a56d9bd239e1a79b333db4af3b6e535010f2335edf7b10",
        ),
    )
}
