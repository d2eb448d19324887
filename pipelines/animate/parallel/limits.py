"""Whether a job can be shared out as wished: enough devices, heads and tokens that divide, a way to speak"""

import errno
import math
import socket

import torch

from darkroom.pipelines.animate.device import opened
from darkroom.pipelines.animate.options import ParallelOptions
from darkroom.pipelines.animate.sizes import MULTIPLE, Size, tokens
from darkroom.pipelines.errors import Rejected, Unavailable

STEPS = 16  # multiples a side may lose: with as many the largest degree divides


def check_devices(parallel: ParallelOptions, heads: int, device: str) -> None:
    """Raise Unavailable where this machine or this model cannot be shared out as `parallel` says.

    heads:  of the transformer
    device: the first one
    """
    if parallel.devices == 1:
        return
    if heads % parallel.ulysses:
        raise Unavailable(
            f"parallel.ulysses: {parallel.ulysses} devices cannot share {heads} heads evenly; "
            f"set one of {', '.join(str(n) for n in range(1, 17) if heads % n == 0)}"
        )
    there, needed = devices_from(opened(device)), parallel.devices
    if there is not None and there < needed:
        raise Unavailable(
            f"parallel: needs {needed} devices from {device} on, and there are {there}; set ulysses and cfg to fewer"
        )
    check_loopback()


def check_tokens(parallel: ParallelOptions, size: Size, frames: int, name: str) -> None:
    """Raise Rejected where the tokens of a video of `size` cannot be shared evenly. `name`: of its image."""
    count, ulysses = tokens(size, frames), parallel.ulysses
    if count % ulysses:
        raise Rejected(
            f"{name}: {frames} frames of {size} are {count:,} tokens, which {ulysses} devices cannot share evenly "
            f"(parallel.ulysses); choose fit: keep or a size such as {shared_size(size, frames, ulysses)}"
        )


def shared_size(size: Size, frames: int, ulysses: int) -> Size:
    """Give `size`, or the one below it and nearest in pixels and shape whose tokens `ulysses` devices share evenly."""
    if tokens(size, frames) % ulysses == 0:
        return size
    fitting = [
        smaller
        for across in range(min(STEPS, size.width // MULTIPLE))
        for down in range(min(STEPS, size.height // MULTIPLE))
        if tokens(smaller := Size(size.width - MULTIPLE * across, size.height - MULTIPLE * down), frames) % ulysses == 0
    ]
    return min(fitting, key=lambda found: _loss(size, found), default=size)


def _loss(size: Size, smaller: Size) -> float:
    across, down = math.log(size.width / smaller.width), math.log(size.height / smaller.height)
    return across + down + 2 * abs(across - down)  # a changed shape is worse than fewer pixels


def devices_from(first: torch.device) -> int | None:
    """Count the devices of the kind from `first` on; None for CPUs, which share themselves."""
    if first.type == "cpu":
        return None
    count: int = torch.get_device_module(first).device_count()
    return max(0, count - (first.index or 0))


def check_loopback() -> None:
    """Raise Unavailable where the service is not allowed to use the loopback, by which processes find each other."""
    try:
        with socket.socket(socket.AF_INET):
            socket.if_nameindex()  # asks by AF_NETLINK, as the libraries do
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES):
            raise
        raise Unavailable(
            "parallel: the service may not use the loopback; systemctl edit darkroom, "
            "with RestrictAddressFamilies=AF_INET AF_NETLINK below [Service]"
        ) from error
