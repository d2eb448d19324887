"""The transformer of FlashVSR taken apart: what each kind of work takes for all layers of a steady chunk."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timing import SETS, milliseconds

from darkroom.kernels.rope import angles
from darkroom.kernels.windows import to_windows
from darkroom.pipelines.upscale.flashvsr.cost import Cost
from darkroom.pipelines.upscale.flashvsr.model import PIXELS, FlashVSR, StreamState

PASSES = 18  # over the tokens, of all norms of a layer: three take in two and give two, three take in one and give one


@dataclass(frozen=True, kw_only=True)
class Part:
    """One kind of work."""

    ms: float
    flop: float = 0
    moved: float = 0  # bytes, each tensor read or written once


def parts(model: FlashVSR, state: StreamState, height: int, width: int, cost: Cost, repeats: int) -> dict[str, Part]:
    """Return what each kind of work takes by itself, at the shapes and with the weights and keys of a steady chunk."""
    layers = Layers(model, state, height, width)
    tokens, blocks = len(layers.tokens[0]), model.dit.blocks
    one = tokens * model.dit.width * layers.tokens[0].element_size() * len(blocks)  # bytes of a pass
    wide = 2 * 2 * tokens * blocks[0].up.weight.numel() * len(blocks)

    def part(work: Callable[[int], None], flop: float = 0, moved: float = 0) -> Part:
        return Part(ms=milliseconds(work, model.device, repeats=repeats), flop=flop, moved=moved)

    return {
        "attention with its selection": part(layers.attention, cost.attention),
        "q, k, v and outputs": part(layers.linear, cost.linear - wide),
        "feed-forward": part(layers.feed_forward, wide),
        "attention to the prompt": part(layers.prompt, cost.cross),
        "norms, gates, RoPE": part(layers.norms, moved=PASSES * one),
        "values into the ring": part(layers.values, moved=2 * one),
    }


class Layers:
    """Each kind of work of all layers, on any of SETS sets of random tokens."""

    def __init__(self, model: FlashVSR, state: StreamState, height: int, width: int) -> None:
        self.net, self.ops = model.dit, model.ops
        rows, columns = height // 16, width // 16
        numbers = torch.Generator().manual_seed(0)
        shape = 2 * rows * columns, self.net.width
        self.tokens = [torch.randn(shape, generator=numbers).to(model.device, model.dtype) for _ in range(SETS)]
        turn = to_windows(
            angles(2, rows, columns, state.latents, shape[1] // self.net.heads).view(2, rows, columns, -1)
        )
        tables = torch.float64 if model.device.type == "cpu" else torch.float32  # as in the model
        self.cos, self.sin = turn.cos().to(model.device, tables), turn.sin().to(model.device, tables)
        self.q, self.k, self.v = zip(*(self.net.blocks[0].qkv(x).chunk(3, dim=-1) for x in self.tokens), strict=True)
        self.turned = [self.ops.norm_rope(q, self.net.blocks[0].q_norm, self.cos, self.sin) for q in self.q]
        self.ring, self.new = state.ring.take(1)
        self.grid = (height // PIXELS, width // PIXELS)
        self.local_range = model.sparsity.local_range
        self.topk = model.sparsity.topk(self.grid[0] * self.grid[1])

    def attention(self, turn: int) -> None:
        q, means = self.turned[turn]
        for layer in self.ring.layers:
            self.ops.windowed(
                q,
                layer.keys,
                layer.values,
                means,
                layer.means,
                slots=self.ring.live,
                heads=self.net.heads,
                grid=self.grid,
                local_range=self.local_range,
                topk=self.topk,
            )

    def linear(self, turn: int) -> None:
        for block in self.net.blocks:
            for layer in (block.qkv, block.o, block.cross_q, block.cross_o):
                layer(self.tokens[turn])

    def feed_forward(self, turn: int) -> None:
        for block in self.net.blocks:
            block.down(F.gelu(block.up(self.tokens[turn]), approximate="tanh"))

    def prompt(self, turn: int) -> None:
        for block in self.net.blocks:
            q = self.tokens[turn].view(-1, *block.cross_k.shape[1:])
            self.ops.dense(q, block.cross_k, block.cross_v)

    def norms(self, turn: int) -> None:
        x, y = self.tokens[turn], self.tokens[turn - 1]
        for block, layer in zip(self.net.blocks, self.ring.layers, strict=True):
            shift, scale, gate = block.modulation[:3]
            for factor in (gate, gate, None):
                self.ops.gated_norm(x, y, factor, scale, shift)
            self.ops.norm_rope(self.k[turn], block.k_norm, self.cos, self.sin, out=layer.keys[self.new].flatten(0, 1))
            self.ops.norm_rope(self.q[turn], block.q_norm, self.cos, self.sin)
            self.ops.rms_norm(x, block.cross_norm)

    def values(self, turn: int) -> None:
        for layer in self.ring.layers:
            layer.values[self.new].flatten(0, 1).copy_(self.v[turn])
