"""The diffusion transformer: tokens in window order through all blocks, one step from noise to latents

N tokens of a chunk (f latent frames of h x w tokens), D width, d of one head. Every chunk is one batch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from darkroom.kernels.backend import Ops
from darkroom.kernels.norms import rms_norm
from darkroom.kernels.rope import angles
from darkroom.kernels.windows import from_windows, to_windows
from darkroom.pipelines.upscale.flashvsr.ring import Ring

Weights = Mapping[str, Tensor]

TIMESTEP = 1000.0
FFN_ROWS = 16_896  # tokens: two chunks of 768x1408; enough for full speed, and 300 MB in bf16
SLICE = 2  # latent frames in a window
TRAINED_PIXELS = 768 * 1280  # where `sparse_ratio` counts slices' worth of windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """x · weightᵀ + bias."""

    weight: Tensor  # [out, in]
    bias: Tensor  # [out]

    def __call__(self, x: Tensor) -> Tensor:
        """Map x [N, in] to [N, out]."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block; what the fixed timestep and prompt make of its weights is worked out beforehand."""

    qkv: Linear  # q, k and v in one product
    q_norm: Tensor  # [D]
    k_norm: Tensor
    o: Linear
    cross_q: Linear
    cross_norm: Tensor
    cross_k: Tensor  # [prompt tokens, heads, d]
    cross_v: Tensor
    cross_o: Linear
    norm3: Tensor  # [2, D]: scale and shift before cross attention
    up: Linear
    down: Linear
    modulation: Tensor  # [6, D]: shift, 1 + scale, gate of attention; the same of the feed-forward

    def on(self, device: torch.device) -> "Block":
        """Give this block on `device`, itself if it is there."""
        if self.q_norm.device == device:
            return self
        moved: dict[str, Any] = {field.name: _on(getattr(self, field.name), device) for field in fields(self)}
        return Block(**moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiT:
    """The whole transformer."""

    heads: int
    patch: Linear  # from the 2x2 pixels of 16 channels under a token
    blocks: tuple[Block, ...]
    head: Linear
    head_modulation: Tensor  # [2, D]: shift, 1 + scale

    @property
    def width(self) -> int:
        """D."""
        return self.patch.weight.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsity:
    """Which windows attend to which."""

    topk_ratio: float  # ρ: a slice of n windows keeps trunc(n² · ρ) - 1 pairs in each head
    local_range: int  # windows around a window that it may see at all

    def topk(self, windows: int) -> int:
        """Give the pairs that a slice of `windows` windows keeps. Raises ValueError if that is none."""
        kept = math.trunc(windows * windows * self.topk_ratio)
        if kept < 1:
            raise ValueError(f"a topk_ratio of {self.topk_ratio:g} keeps nothing of {windows} windows")
        return kept - 1


def topk_ratio(sparse_ratio: float, height: int, width: int) -> float:
    """Give ρ for frames of `height` x `width` pixels: the same number of keys for a query at every size."""
    return sparse_ratio * TRAINED_PIXELS / (height * width)


def prepare(
    weights: Weights,
    prompt: Tensor,
    *,
    heads: int,
    dtype: torch.dtype,
    device: torch.device,
    home: torch.device | None = None,
) -> DiT:
    """Give the transformer of the official `weights`, to compute on `device`.

    prompt: [1, tokens, text width], the encoded prompt that belongs to the weights
    home:   where the blocks rest; None: on the device. Only one of them is ever there otherwise
    """

    def cast(*names: str) -> Weights:
        return {key: value.to(device, dtype) for key, value in weights.items() if key.startswith(names)}

    w = cast("patch_embedding.", "text_embedding.", "time_", "head.")
    t, t_mod = timestep(w)
    text = F.gelu(_linear(w, "text_embedding.0")(prompt[0].to(device, dtype)), approximate="tanh")
    text = _linear(w, "text_embedding.2")(text)
    count = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks."))
    names = [f"blocks.{index}." for index in range(count)]
    return DiT(
        heads=heads,
        patch=Linear(weight=w["patch_embedding.weight"].flatten(1), bias=w["patch_embedding.bias"]),
        blocks=tuple(_block(cast(name), name, t_mod, text, heads).on(home or device) for name in names),
        head=_linear(w, "head.head"),
        head_modulation=_opened(w["head.modulation"][0] + t),
    )


def timestep(w: Weights) -> tuple[Tensor, Tensor]:
    """Give t [1, D] and t_mod [6, D] of the one timestep there is (flashvsr: sinusoid in double precision)."""
    dtype, half = w["time_embedding.0.weight"].dtype, w["time_embedding.0.weight"].shape[1] // 2
    wave = TIMESTEP * 10_000 ** (
        -torch.arange(half, dtype=torch.float64, device=w["time_embedding.0.bias"].device) / half
    )
    sinusoid = torch.cat((wave.cos(), wave.sin())).to(dtype)[None]
    t = _linear(w, "time_embedding.2")(F.silu(_linear(w, "time_embedding.0")(sinusoid)))
    return t, _linear(w, "time_projection.1")(F.silu(t)).view(6, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What is the same for every block that the tokens of a chunk pass."""

    ops: Ops
    heads: int
    grid: tuple[int, int]  # windows of a slice
    sparsity: Sparsity
    cos: Tensor  # [N, d/2], window order
    sin: Tensor
    ring: Ring  # the chunk's own slices among the live ones
    new: slice  # slots of these


def passage(ops: Ops, heads: int, size: tuple[int, int, int], offset: int, ring: Ring, sparsity: Sparsity) -> Passage:
    """Give the passage of a chunk of `size` (f, h, w) tokens whose first latent frame is number `offset`.

    Raises ValueError if the ring has no room, or `sparsity` keeps nothing of so few windows.
    """
    frames, rows, columns = size
    ring, new = ring.take(frames // SLICE)
    width = ring.layers[0].keys.shape[-1]
    turn = angles(frames, rows, columns, offset, width // heads).to(ring.device)
    turn = to_windows(turn.view(frames, rows, columns, -1))
    tables = torch.float64 if ring.device.type == "cpu" else torch.float32  # fp64 runs at 1/64 rate on many cards
    return Passage(
        ops=ops,
        heads=heads,
        grid=(rows // 8, columns // 8),
        sparsity=sparsity,
        cos=turn.cos().to(tables),
        sin=turn.sin().to(tables),
        ring=ring,
        new=new,
    )


def denoise(
    dit: DiT, ops: Ops, z: Tensor, lq: Tensor, offset: int, ring: Ring, sparsity: Sparsity
) -> tuple[Tensor, Ring]:
    """Give the latents that the noise `z` and the low-quality tokens `lq` stand for, and the ring for the next chunk.

    z:      [f, 16, 2h, 2w], f = 2 · slices
    lq:     [f, h, w, D]
    offset: absolute index of the first latent frame, for RoPE; any number
    """
    frames, rows, columns, _ = lq.shape
    x = to_windows(dit.patch(rearrange(z, "f c (h p) (w q) -> f h w (c p q)", p=2, q=2)) + lq)
    through = passage(ops, dit.heads, (frames, rows, columns), offset, ring, sparsity)
    y, gate = None, None
    for index, stored in enumerate(dit.blocks):
        block = stored.on(z.device)
        shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation
        x, h = ops.gated_norm(x, y, gate, scale1, shift1)
        x, h = ops.gated_norm(x, block.o(attend(block, index, through, h)), gate1, *block.norm3)
        x, h = ops.gated_norm(x, cross(block, ops, h), None, scale2, shift2)
        y, gate = feed_forward(block, h), gate2
    shift, scale = dit.head_modulation
    _, h = ops.gated_norm(x, y, gate, scale, shift)
    velocity = from_windows(dit.head(h), frames, rows, columns)
    return z - rearrange(velocity, "f h w (p q c) -> f c (h p) (w q)", p=2, q=2), through.ring.age()


def attend(block: Block, index: int, through: Passage, h: Tensor) -> Tensor:
    """Attend from the tokens h [N, D] to the selected windows of the ring, which keeps their keys and values."""
    ops, ring, new = through.ops, through.ring, through.new
    layer = ring.fetch(index, new)
    q, k, v = block.qkv(h).chunk(3, dim=-1)
    _, means = ops.norm_rope(k, block.k_norm, through.cos, through.sin, out=layer.keys[new].flatten(0, 1))
    layer.means[new] = means.view_as(layer.means[new])
    layer.values[new].flatten(0, 1).copy_(v)
    q, q_means = ops.norm_rope(q, block.q_norm, through.cos, through.sin)
    attended = ops.windowed(
        q,
        layer.keys,
        layer.values,
        q_means,
        layer.means,
        slots=ring.live,
        heads=through.heads,
        grid=through.grid,
        local_range=through.sparsity.local_range,
        topk=through.sparsity.topk(through.grid[0] * through.grid[1]),
    )
    ring.keep(index, new)
    return attended


def cross(block: Block, ops: Ops, h: Tensor) -> Tensor:
    """Attend from the tokens h [N, D] to the prompt: [N, D]."""
    q = ops.rms_norm(block.cross_q(h), block.cross_norm)
    attended = ops.dense(q.view(-1, *block.cross_k.shape[1:]), block.cross_k, block.cross_v)
    return block.cross_o(attended.flatten(1))


def feed_forward(block: Block, h: Tensor) -> Tensor:
    """Map the tokens h [N, D] through the wide layer, some thousands at a time: that layer is 6 times as wide as D."""
    return torch.cat([block.down(F.gelu(block.up(rows), approximate="tanh")) for rows in torch.split(h, FFN_ROWS)])


def _block(w: Weights, at: str, t_mod: Tensor, text: Tensor, heads: int) -> Block:
    from_text = {name: _linear(w, f"{at}cross_attn.{name}")(text) for name in "kv"}
    k = rms_norm(from_text["k"], w[f"{at}cross_attn.norm_k.weight"])
    return Block(
        qkv=Linear(
            weight=torch.cat([w[f"{at}self_attn.{name}.weight"] for name in "qkv"]),
            bias=torch.cat([w[f"{at}self_attn.{name}.bias"] for name in "qkv"]),
        ),
        q_norm=w[f"{at}self_attn.norm_q.weight"],
        k_norm=w[f"{at}self_attn.norm_k.weight"],
        o=_linear(w, f"{at}self_attn.o"),
        cross_q=_linear(w, f"{at}cross_attn.q"),
        cross_norm=w[f"{at}cross_attn.norm_q.weight"],
        cross_k=rearrange(k, "t (a d) -> t a d", a=heads),
        cross_v=rearrange(from_text["v"], "t (a d) -> t a d", a=heads),
        cross_o=_linear(w, f"{at}cross_attn.o"),
        norm3=torch.stack((w[f"{at}norm3.weight"], w[f"{at}norm3.bias"])),
        up=_linear(w, f"{at}ffn.0"),
        down=_linear(w, f"{at}ffn.2"),
        modulation=_opened(w[f"{at}modulation"][0] + t_mod),
    )


def _opened(modulation: Tensor) -> Tensor:
    """Give `modulation` [..., D] with one added to each scale: rows are shift, scale and, in blocks, gate."""
    opened = modulation.clone()
    opened[1 :: 3 if len(modulation) > 2 else 2] += 1
    return opened


def _linear(w: Weights, name: str) -> Linear:
    return Linear(weight=w[f"{name}.weight"], bias=w[f"{name}.bias"])


def _on(value: Linear | Tensor, device: torch.device) -> Linear | Tensor:
    if isinstance(value, Linear):
        return Linear(weight=_moved(value.weight, device), bias=_moved(value.bias, device))
    return _moved(value, device)


def _moved(value: Tensor, device: torch.device) -> Tensor:
    """Give `value` on `device`; from a GPU to the host into pinned memory, from which it comes back at full speed."""
    if value.is_cuda and device.type == "cpu":
        return torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value)
    return value.to(device, non_blocking=True)
