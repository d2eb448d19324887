"""Keys and values of the last few slices, for every layer of the DiT, in slots that are written in turn"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from darkroom.kernels.windows import WINDOW_TOKENS

FIRST_SLICES = 3  # what the first chunk of a stream brings; every later one brings a single slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer's slots on the device, for as long as that layer computes.

    keys, values: [slots, windows · 128, D], keys after norm and RoPE
    means:        [slots, windows, D], the mean key of each window
    """

    keys: Tensor
    values: Tensor
    means: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """What a stream remembers of its past chunks.

    A slice never moves once it is written: attention does not mind the order of its keys. The tensors are written in
    place, so a ring that `step` was given must not be used again.
    """

    layers: tuple[Layer, ...]
    live: tuple[int, ...] = ()  # slots that hold a slice, the oldest first
    kept: int  # slices kept from one chunk to the next
    device: torch.device  # that computes
    scratch: Layer | None = None  # on `device`, where the layers themselves are kept in host memory

    def take(self, slices: int) -> tuple["Ring", slice]:
        """Give the ring with `slices` more live slots, which lie side by side, and which these are."""
        slots = len(self.layers[0].keys)
        free = [slot for slot in range(slots) if slot not in self.live]
        if slices > len(free) or free[:slices] != list(range(free[0], free[0] + slices)):
            raise ValueError(f"{slices} slices do not fit beside {len(self.live)} of {slots}")
        new = range(free[0], free[0] + slices)
        return replace(self, live=(*self.live, *new)), slice(new.start, new.stop)

    def fetch(self, layer: int, new: slice) -> Layer:
        """Give `layer` on the device: the live slices in place, the slots of `new` to be written."""
        stored = self.layers[layer]
        if self.scratch is None:
            return stored
        for slot in set(self.live) - set(range(new.start, new.stop)):
            self.scratch.keys[slot].copy_(stored.keys[slot], non_blocking=True)
            self.scratch.values[slot].copy_(stored.values[slot], non_blocking=True)
        return Layer(keys=self.scratch.keys, values=self.scratch.values, means=stored.means)

    def keep(self, layer: int, new: slice) -> None:
        """Store what was written to the slots of `new`."""
        if self.scratch is not None:
            stored = self.layers[layer]
            stored.keys[new].copy_(self.scratch.keys[new], non_blocking=True)
            stored.values[new].copy_(self.scratch.values[new], non_blocking=True)

    def age(self) -> "Ring":
        """Give the ring for the next chunk: one slice, the oldest, goes where there are more than `kept`.

        Never more than one, even if more are above the limit: so are the published weights run (kv_ratio 1 keeps two).
        """
        return replace(self, live=self.live[1:]) if len(self.live) > self.kept else self


def empty(
    *, layers: int, windows: int, width: int, kept: int, dtype: torch.dtype, device: torch.device, offload: bool
) -> Ring:
    """Give a ring without slices.

    windows: in one slice;  kept: slices carried to the next chunk, at least 1
    offload: keep the layers in host memory, and only the one that computes on `device`
    """
    slots = max(FIRST_SLICES, kept + 1)

    def layer(where: torch.device) -> Layer:
        pinned = device.type == "cuda" and where.type == "cpu"
        keys, values = (
            torch.empty(slots, windows * WINDOW_TOKENS, width, dtype=dtype, device=where, pin_memory=pinned)
            for _ in range(2)
        )
        return Layer(keys=keys, values=values, means=torch.empty(slots, windows, width, dtype=dtype, device=device))

    home = torch.device("cpu") if offload else device
    return Ring(
        layers=tuple(layer(home) for _ in range(layers)),
        kept=kept,
        device=device,
        scratch=layer(device) if offload else None,
    )
