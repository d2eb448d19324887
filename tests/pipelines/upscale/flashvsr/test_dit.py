from dataclasses import replace
from typing import Any

import small_flashvsr
import torch
from goldens import config, distance, golden, weights
from torch import Tensor

from darkroom.kernels.backend import TORCH, Ops
from darkroom.kernels.dense_attention import dense_attention, windowed_by
from darkroom.kernels.selection import select_windows
from darkroom.kernels.windows import from_windows
from darkroom.pipelines.upscale.flashvsr import ring
from darkroom.pipelines.upscale.flashvsr.dit import DiT, Sparsity, denoise, prepare, timestep, topk_ratio

CPU = torch.device("cpu")


def dit(dtype: torch.dtype = torch.float32) -> DiT:
    return prepare(weights("dit"), golden("constants")["context"], heads=config()["heads"], dtype=dtype, device=CPU)


def empty_ring(model: DiT, windows: int, kept: int, offload: bool = False) -> ring.Ring:
    dtype = model.head.weight.dtype
    return ring.empty(
        layers=len(model.blocks),
        windows=windows,
        width=model.width,
        kept=kept,
        dtype=dtype,
        device=CPU,
        offload=offload,
    )


def stream(model: DiT, *, offload: bool = False, ops: Ops = TORCH) -> tuple[list[Tensor], ring.Ring]:
    """All chunks of the streaming reference, one after the other."""
    given, meta = golden("dit_stream_in"), golden("dit_stream_out").meta
    rows, columns = (8 * side for side in meta["grid"])
    latents, tokens = given["latents"][0].transpose(0, 1), given["lq_tokens"].view(-1, rows, columns, model.width)
    kept = max(2, int(meta["kv_ratio"]))
    sparsity = Sparsity(topk_ratio=meta["topk_ratio"], local_range=meta["local_range"])
    now, found = empty_ring(model, meta["grid"][0] * meta["grid"][1], kept, offload), []
    for chunk in range(meta["chunks"]):
        at, until = (0, 6) if chunk == 0 else (4 + 2 * chunk, 6 + 2 * chunk)
        out, now = denoise(model, ops, latents[at:until], tokens[at:until], at, now, sparsity)
        found.append(out)
    return found, now


class Watched:
    """Operations that note the tokens each norm adds up, and which windows are selected."""

    def __init__(self, ops: Ops = TORCH) -> None:
        self.sums: list[Tensor] = []
        self.masks: list[Tensor] = []
        self.attended: list[tuple[Tensor, Tensor]] = []  # queries and what they get
        self._ops = ops
        self.ops = replace(ops, gated_norm=self._gated_norm, windowed=self._windowed)

    def _gated_norm(
        self, x: Tensor, y: Tensor | None, gate: Tensor | None, scale: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, normed = self._ops.gated_norm(x, y, gate, scale, shift)
        self.sums.append(total)
        return total, normed

    def _windowed(
        self, q: Tensor, k: Tensor, v: Tensor, q_means: Tensor, k_means: Tensor, *, slots: tuple[int, ...], **rest: Any
    ) -> Tensor:
        self.masks.append(select_windows(q_means, k_means[list(slots)].flatten(0, 1), **rest))
        out = self._ops.windowed(q, k, v, q_means, k_means, slots=slots, **rest)
        self.attended.append((q, out))
        return out


class OneBlock:
    """The block of the reference `block_sparse` in a transformer of its own, which adds nothing to what it is given."""

    def __init__(self, dtype: torch.dtype = torch.float32, ops: Ops = TORCH) -> None:
        self.meta = golden("block_sparse").meta
        self.watched = Watched(ops)
        whole = dit(dtype)
        silent = replace(whole.patch, bias=torch.zeros_like(whole.patch.bias))
        self.model = replace(whole, blocks=whole.blocks[self.meta["block"] :][:1], patch=silent)
        grid = self.meta["h"] // 8, self.meta["w"] // 8
        self.windows = grid[0] * grid[1]
        self.ring = empty_ring(self.model, self.windows, max(2, self.meta["kv_len"]))
        self.sparsity = Sparsity(topk_ratio=self.meta["topk_ratio"], local_range=self.meta["local_range"])

    def __call__(self, chunk: int, x: Tensor) -> Tensor:
        """Give the tokens [N, D], in raster order, after the block."""
        size = self.meta[f"f{chunk}"], self.meta["h"], self.meta["w"]
        tokens = x.view(*size, -1).to(self.model.head.weight.dtype)
        noise = tokens.new_zeros(size[0], 16, 2 * size[1], 2 * size[2])
        offset = self.meta["rope_offset"][chunk]
        _, self.ring = denoise(self.model, self.watched.ops, noise, tokens, offset, self.ring, self.sparsity)
        return from_windows(self.watched.sums[-1], *size).flatten(0, 2)

    def keys(self) -> Tensor:
        """Give the keys that are remembered, [windows, 128, D], oldest first."""
        return self._remembered(self.ring.layers[0].keys)

    def values(self) -> Tensor:
        """Give the values likewise."""
        return self._remembered(self.ring.layers[0].values)

    def _remembered(self, slots: Tensor) -> Tensor:
        return slots[list(self.ring.live)].view(-1, 128, self.model.width)


def test_constants_are_those_of_the_reference() -> None:
    wanted, model = golden("constants"), dit()
    t, t_mod = timestep(weights("dit"))
    assert distance(t, wanted["t"]) < 1e-5
    assert distance(t_mod, wanted["t_mod"][0]) < 1e-5
    for index, block in enumerate(model.blocks):
        assert distance(block.cross_k.flatten(1), wanted[f"cross_k.{index}"][0]) < 1e-5
        assert distance(block.cross_v.flatten(1), wanted[f"cross_v.{index}"][0]) < 1e-5


def test_a_stream_of_chunks_is_that_of_the_reference() -> None:
    found, now = stream(dit())
    wanted = golden("dit_stream_out")
    assert distance(torch.cat(found), wanted["latents_out"][0].transpose(0, 1)) < 1e-4
    assert len(now.live) == wanted.meta["final_cache_slices"]
    keys = (
        torch.cat([now.layers[0].keys[slot] for slot in now.live]).view(-1, 128, now.layers[0].keys.shape[-1]).mean(1)
    )
    values = (
        torch.cat([now.layers[-1].values[slot] for slot in now.live])
        .view(-1, 128, now.layers[0].keys.shape[-1])
        .mean(1)
    )
    assert distance(keys, wanted["final_cache_k_layer0_mean"]) < 1e-4
    assert distance(values, wanted["final_cache_v_last_mean"]) < 1e-4


def test_the_windows_selected_in_a_stream_are_those_of_the_reference() -> None:
    watched, wanted = Watched(), golden("dit_stream_masks").tensors
    stream(dit(), ops=watched.ops)
    layers = config()["layers"]
    found = {f"chunk{at // layers}.layer{at % layers}": mask for at, mask in enumerate(watched.masks)}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_block_is_that_of_the_reference_with_and_without_a_past() -> None:
    wanted, remembered, block = golden("block_sparse"), golden("block_sparse_cache"), OneBlock()
    assert block.sparsity.topk(block.windows) == wanted.meta["topk"]
    assert distance(block(0, wanted["chunk0.x"]), wanted["chunk0.y"][0]) < 2e-5
    assert distance(block.keys().mean(1), remembered["k_after_chunk0_mean"]) < 2e-5
    assert distance(block(1, wanted["chunk1.x"]), wanted["chunk1.y"][0]) < 2e-5
    for mask, chunk in zip(block.watched.masks, ("chunk0", "chunk1"), strict=True):
        assert torch.equal(mask, wanted[f"{chunk}.mask"])


def test_what_a_block_attends_with_and_remembers_is_that_of_the_reference() -> None:
    wanted, remembered, block = golden("block_sparse"), golden("block_sparse_cache"), OneBlock()
    for chunk in (0, 1):
        block(chunk, wanted[f"chunk{chunk}.x"])
    queries, attended = block.watched.attended[-1]
    assert distance(queries, wanted["chunk1.q_win"][0]) < 2e-5
    assert distance(attended, wanted["chunk1.attn_win"][0]) < 2e-5
    keys, values = block.keys(), block.values()
    for found, name in ((keys, "chunk1.k_new_win"), (values, "chunk1.v_new_win")):
        assert distance(found[-block.windows :].flatten(0, 1), wanted[name][0]) < 2e-5
    assert distance(keys, remembered["k_after_chunk1"]) < 2e-5
    assert distance(values.mean(1), remembered["v_after_chunk1_mean"]) < 2e-5


def test_a_block_that_sees_all_windows_is_that_of_the_reference() -> None:
    wanted, dense = golden("block_dense"), replace(TORCH, windowed=windowed_by(dense_attention))
    exact = OneBlock(ops=dense)(0, wanted["chunk0.x"])
    assert distance(exact, wanted["chunk0.y"][0]) < 2e-5
    rounded = OneBlock(torch.bfloat16, dense)(0, wanted["chunk0.x"]).float()
    assert distance(rounded, wanted["chunk0.y_bf16"][0].float()) < 1e-2
    assert distance(rounded, wanted["chunk0.y"][0]) < 1e-2


def test_keys_and_values_in_host_memory_change_nothing() -> None:
    for here, there in zip(stream(dit())[0], stream(dit(), offload=True)[0], strict=True):
        assert torch.equal(here, there)


def test_bf16_stays_near_fp32() -> None:
    generator = torch.Generator().manual_seed(6)
    noise, tokens = torch.randn(6, 16, 32, 48, generator=generator), torch.randn(6, 16, 24, 64, generator=generator)

    def latents(dtype: torch.dtype) -> Tensor:
        made = small_flashvsr.model(dtype)
        now = empty_ring(made.dit, 6, 3)
        return denoise(made.dit, TORCH, noise.to(dtype), tokens.to(dtype), 0, now, made.sparsity)[0].float()

    assert distance(latents(torch.bfloat16), latents(torch.float32)) < 0.05  # windows near the threshold flip


def test_every_size_keeps_as_many_keys_for_a_query() -> None:
    for height, width in ((768, 1280), (768, 1408), (1024, 1920), (2176, 3840)):
        windows = height * width // 128**2
        topk = Sparsity(topk_ratio=topk_ratio(2.0, height, width), local_range=11).topk(windows)
        assert abs(topk / windows - 120) < 0.1
    assert Sparsity(topk_ratio=topk_ratio(2.0, 768, 1408), local_range=11).topk(66) == 7919
