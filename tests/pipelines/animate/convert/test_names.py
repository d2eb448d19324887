"""The maps of names, held to what the authors' tensors mean: both encoders written out in the original names."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from darkroom.pipelines.animate import tiny, tiny_original
from darkroom.pipelines.animate.convert.names import Piece, pieces, published_pieces
from darkroom.pipelines.animate.convert.original import PUBLISHED

HEADS = {"text": tiny.TEXT.num_heads, "vision": tiny.VISION.num_attention_heads}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_original.write(tmp_path_factory.mktemp("originals"))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, bias: Tensor | None = None) -> Tensor:
    q, k, v = (rearrange(x, "... n (h d) -> ... h n d", h=heads) for x in (q, k, v))
    out: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return rearrange(out, "... h n d -> ... n (h d)")


def bucket(distance: int, buckets: int, furthest: int) -> int:
    """Return the number of a distance from a query to a key, as T5 has it: exact where near, logarithmic where far."""
    half = buckets // 2
    base, far, exact = (half if distance > 0 else 0), abs(distance), half // 2
    if far < exact:
        return base + far
    return base + min(half - 1, exact + int(math.log(far / exact) / math.log(furthest / exact) * (half - exact)))


def umt5(w: dict[str, Tensor], words: Tensor) -> Tensor:
    def normed(x: Tensor, name: str) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w[f"{name}.weight"]

    x = w["token_embedding.weight"][words]
    count, buckets = len(words), len(w["blocks.0.pos_embedding.embedding.weight"])
    numbers = torch.tensor([[bucket(k - q, buckets, 128) for k in range(count)] for q in range(count)])
    for block in (f"blocks.{number}." for number in range(tiny.TEXT.num_layers)):
        h = normed(x, f"{block}norm1")
        q, k, v = (h @ w[f"{block}attn.{letter}.weight"].T for letter in "qkv")
        bias = w[f"{block}pos_embedding.embedding.weight"][numbers].permute(2, 0, 1)
        x = x + attend(q, k, v, HEADS["text"], 1.0, bias) @ w[f"{block}attn.o.weight"].T
        h = normed(x, f"{block}norm2")
        gate = F.gelu(h @ w[f"{block}ffn.gate.0.weight"].T, approximate="tanh")
        x = x + (h @ w[f"{block}ffn.fc1.weight"].T * gate) @ w[f"{block}ffn.fc2.weight"].T
    return normed(x, "norm")


def clip(w: dict[str, Tensor], image: Tensor) -> Tensor:
    """Return what the layer before the last one sees."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"visual.{name}.weight"], w[f"visual.{name}.bias"])

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"visual.{name}.weight"], w[f"visual.{name}.bias"], 1e-5)

    patches = F.conv2d(image, w["visual.patch_embedding.weight"], stride=tiny.VISION.patch_size).flatten(2).mT
    x = normed(torch.cat([w["visual.cls_embedding"], patches], dim=1) + w["visual.pos_embedding"], "pre_norm")
    for block in (f"transformer.{number}." for number in range(tiny.VISION.num_hidden_layers - 1)):
        q, k, v = linear(normed(x, f"{block}norm1"), f"{block}attn.to_qkv").chunk(3, dim=-1)
        head = q.shape[-1] // HEADS["vision"]
        x = x + linear(attend(q, k, v, HEADS["vision"], head**-0.5), f"{block}attn.proj")
        x = x + linear(F.gelu(linear(normed(x, f"{block}norm2"), f"{block}mlp.0")), f"{block}mlp.2")
    return x


def test_umt5s_tensors_mean_what_the_library_takes_them_for(place: Path) -> None:
    tensors = torch.load(place / PUBLISHED["text_encoder"].name, weights_only=True)
    words = torch.randint(3, 90, (40,), generator=torch.Generator().manual_seed(1))
    wanted = tiny.components().text_encoder(words[None]).last_hidden_state[0]
    found = umt5({name: tensor.float() for name, tensor in tensors.items()}, words)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_clips_tensors_mean_what_the_library_takes_them_for(place: Path) -> None:
    tensors = torch.load(place / PUBLISHED["image_encoder"].name, weights_only=True)
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    wanted = tiny.components().image_encoder(image, output_hidden_states=True).hidden_states[-2]
    assert (clip(tensors, image) - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_queries_keys_and_values_are_cut_from_one_tensor() -> None:
    name = "visual.transformer.31.attn.to_qkv.bias"
    assert pieces("image_encoder", [name]) == {
        f"encoder.layers.31.self_attn.{letter}_proj.bias": Piece(name, block, 3) for block, letter in enumerate("qkv")
    }


def test_what_is_not_used_is_left_out_and_what_is_not_known_keeps_its_name() -> None:
    names = ["textual.token_embedding.weight", "log_scale", "visual.head", "visual.other"]
    assert pieces("image_encoder", names) == {"visual.other": Piece("visual.other")}
    assert pieces("text_encoder", ["blocks.0.attn.x.weight"]) == {
        "blocks.0.attn.x.weight": Piece("blocks.0.attn.x.weight")
    }
    assert pieces("transformer", ["blocks.0.norm3.bias"]) == {"blocks.0.norm2.bias": Piece("blocks.0.norm3.bias")}


def test_names_of_the_librarys_layout_lose_what_newer_releases_leave_out() -> None:
    assert published_pieces("image_encoder", ["vision_model.post_layernorm.bias"]) == {
        "post_layernorm.bias": Piece("vision_model.post_layernorm.bias")
    }
    assert published_pieces("text_encoder", ["shared.weight", "encoder.embed_tokens.weight"]) == {
        "shared.weight": Piece("shared.weight")
    }
