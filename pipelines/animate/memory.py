"""How the model fits into the memory there is: what is on the device, in host memory, in 8 bits"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One way of running a job."""

    precision: Literal["bf16", "fp32"] = "bf16"
    offload: Literal["none", "blocks", "model"] = "none"
    quantize: Literal["none", "fp8", "int8"] = "none"
    text_on_device: bool = False
    vae_tiled: bool = False
    attention: str = "sdpa"

    @property
    def what(self) -> str:
        """In a few words for people."""
        words = [self.precision if self.quantize == "none" else self.quantize, f"attention by {self.attention}"]
        words += [f"offload: {self.offload}"] if self.offload != "none" else []
        words += ["decoded in tiles"] if self.vae_tiled else []
        return ", ".join(words)


def lighter(profile: Profile) -> Profile | None:
    """Give the next way of running that needs less, None where there is none."""
    if not profile.vae_tiled:
        return replace(profile, vae_tiled=True)
    if profile.offload == "none":
        return replace(profile, offload="blocks")
    return None
