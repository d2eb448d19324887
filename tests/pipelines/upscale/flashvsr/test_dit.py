import torch
from goldens import config, distance, golden, weights
from torch import Tensor

from darkroom.kernels.backend import TORCH, Ops
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
    at = 0
    dtype = model.head.weight.dtype
    for chunk in range(meta["chunks"]):
        until = 6 if chunk == 0 else at + 2
        out, now = denoise(model, ops, latents[at:until].to(dtype), tokens[at:until].to(dtype), at, now, sparsity)
        found.append(out)
        at = until
    return found, now


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


def test_keys_and_values_in_host_memory_change_nothing() -> None:
    for here, there in zip(stream(dit())[0], stream(dit(), offload=True)[0], strict=True):
        assert torch.equal(here, there)


def test_bf16_stays_near_fp32() -> None:
    exact, rounded = (torch.cat(stream(dit(dtype))[0]) for dtype in (torch.float32, torch.bfloat16))
    assert distance(rounded.float(), exact) < 0.05  # windows near the threshold flip


def test_every_size_keeps_as_many_keys_for_a_query() -> None:
    for height, width in ((768, 1280), (768, 1408), (1024, 1920), (2176, 3840)):
        windows = height * width // 128**2
        topk = Sparsity(topk_ratio=topk_ratio(2.0, height, width), local_range=11).topk(windows)
        assert abs(topk / windows - 120) < 0.1
    assert Sparsity(topk_ratio=topk_ratio(2.0, 768, 1408), local_range=11).topk(66) == 7919
