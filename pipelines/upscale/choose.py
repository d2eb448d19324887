"""Which model `model: auto` comes to here, and why, in words for people."""

from dataclasses import dataclass

from darkroom.kernels.device import Device

CAPABILITY = (8, 0)  # of CUDA: bf16, and what the fused kernels are written for


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model, and why it was taken."""

    model: str
    why: str = ""  # "" where the options name it


def resolve(asked: str, *obstacles: str) -> Choice:
    """Give the model for `asked`: for auto flashvsr, or photo where anything stands in its way.

    obstacles: what stands in the way of flashvsr, "" what does not; the first is told
    """
    if asked != "auto":
        return Choice(model=asked)
    obstacle = next(filter(None, obstacles), "")
    if obstacle:
        return Choice(model="photo", why=f"auto: {obstacle}")
    return Choice(model="flashvsr", why="auto: its weights are here, and a GPU for them")


def unfit(device: Device) -> str:
    """Say why `device` is too weak for flashvsr to be taken unasked, "" if it is not. Asked for, it runs on any."""
    if device.kind == "cpu":
        return "FlashVSR wants a GPU"
    if device.capability < CAPABILITY:
        has, wanted = (".".join(map(str, version)) for version in (device.capability, CAPABILITY))
        return f"FlashVSR wants compute capability {wanted}, {device.name} has {has}"
    return ""
