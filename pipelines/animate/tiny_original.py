"""The tiny Wan2.1 I2V in the layout of its authors: their names of files and tensors, pickles where theirs are"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.convert.names import pieces
from darkroom.pipelines.animate.convert.original import CONFIG, PUBLISHED, TOKENIZER
from darkroom.pipelines.animate.layout import STEMS, Component

FOLDER = "Wan2.1-I2V-14B-480P"
SHARDS = 3
BOTH = ("weight", "bias")
SHORTCUTS = ("encoder.downsamples.3", "encoder.downsamples.6", "decoder.upsamples.4")  # where the width changes
TYPES: dict[Component, torch.dtype] = {  # of what is published as a pickle
    "text_encoder": torch.bfloat16,
    "image_encoder": torch.float32,
    "vae": torch.float32,
}
LEADING_ONES: dict[str, int] = {"visual.cls_embedding": 2, "visual.pos_embedding": 1}


def write(folder: Path, *, seed: int = 0) -> Path:
    """Write the model that `tiny.write` writes as its authors would, below `folder`; return the folder it lies in."""
    place, parts = folder / FOLDER, tiny.components(seed)
    place.mkdir(parents=True, exist_ok=True)
    config = tiny.TRANSFORMER
    values = {
        "_class_name": "WanModel",
        "_diffusers_version": "0.30.0",
        "dim": config["num_attention_heads"] * config["attention_head_dim"],
        "eps": 1e-6,
        "ffn_dim": config["ffn_dim"],
        "freq_dim": config["freq_dim"],
        "in_dim": config["in_channels"],
        "model_type": "i2v",
        "num_heads": config["num_attention_heads"],
        "num_layers": config["num_layers"],
        "out_dim": config["out_channels"],
        "text_len": 512,
    }
    (place / CONFIG).write_text(json.dumps(values, indent=2) + "\n")
    _write_shards(place, _original("transformer", parts))
    for component, published in PUBLISHED.items():
        tensors = _original(component, parts)
        torch.save({name: tensor.to(TYPES[component]) for name, tensor in tensors.items()}, place / published.name)
    parts.tokenizer.save_pretrained(place / TOKENIZER)
    return place


def _write_shards(place: Path, tensors: Mapping[str, Tensor]) -> None:
    names = sorted(tensors)
    where = {
        name: f"{STEMS['transformer']}-{1 + at * SHARDS // len(names):05}-of-{SHARDS:05}.safetensors"
        for at, name in enumerate(names)
    }
    for file in set(where.values()):
        (place / file).write_bytes(save({name: tensors[name] for name in names if where[name] == file}))
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": where}
    (place / f"{STEMS['transformer']}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _original(component: Component, parts: Components) -> dict[str, Tensor]:
    """Give the tensors of `component` under their original names."""
    found: Mapping[str, Tensor] = getattr(parts, component).state_dict()
    names = list(NAMES[component]())
    joined: dict[str, list[Tensor]] = {}
    for target, piece in pieces(component, names).items():
        joined.setdefault(piece.source, []).append(found[target])
    tensors = {name: torch.cat(rows) if len(rows) > 1 else rows[0] for name, rows in joined.items()}
    shaped = {name: tensor[(None,) * LEADING_ONES.get(name, 0)].contiguous() for name, tensor in tensors.items()}
    return shaped | _unused(component)


def _unused(component: Component) -> dict[str, Tensor]:
    if component != "image_encoder":
        return {}
    return {
        "log_scale": torch.zeros(()),
        "visual.head": torch.zeros(160, 8),
        "textual.token_embedding.weight": torch.zeros(5, 8),
    }


def transformer_names() -> Iterator[str]:
    """Yield the original names of the transformer's tensors."""
    linear = ["text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2", "time_projection.1"]
    linear += ["patch_embedding", "head.head", *(f"img_emb.proj.{number}" for number in (0, 1, 3, 4))]
    yield "head.modulation"
    for block in (f"blocks.{number}." for number in range(tiny.TRANSFORMER["num_layers"])):
        yield f"{block}modulation"
        linear += [f"{block}{name}" for name in ("ffn.0", "ffn.2", "norm3")]
        for attention, layers, norms in (("self_attn", "qkvo", "qk"), ("cross_attn", "qkvo", "qk")):
            linear += [f"{block}{attention}.{layer}" for layer in layers]
            yield from (f"{block}{attention}.norm_{norm}.weight" for norm in norms)
        linear += [f"{block}cross_attn.k_img", f"{block}cross_attn.v_img"]
        yield f"{block}cross_attn.norm_k_img.weight"
    yield from (f"{name}.{kind}" for name in linear for kind in BOTH)


def text_names() -> Iterator[str]:
    """Yield the original names of UMT5's tensors."""
    yield from ("token_embedding.weight", "norm.weight")
    layers = [*(f"attn.{letter}" for letter in "qkvo"), "ffn.gate.0", "ffn.fc1", "ffn.fc2", "norm1", "norm2"]
    for number in range(tiny.TEXT.num_layers):
        yield from (f"blocks.{number}.{layer}.weight" for layer in (*layers, "pos_embedding.embedding"))


def vision_names() -> Iterator[str]:
    """Yield the original names of the tensors that CLIP sees by."""
    yield from ("visual.cls_embedding", "visual.pos_embedding", "visual.patch_embedding.weight")
    layers = ["pre_norm", "post_norm"]
    for number in range(tiny.VISION.num_hidden_layers):
        parts = ("norm1", "attn.to_qkv", "attn.proj", "norm2", "mlp.0", "mlp.2")
        layers += [f"transformer.{number}.{part}" for part in parts]
    yield from (f"visual.{layer}.{kind}" for layer in layers for kind in BOTH)


def vae_names() -> Iterator[str]:
    """Yield the original names of the VAE's tensors."""
    layers = ["conv1", "conv2", *(f"{name}.shortcut" for name in SHORTCUTS)]
    blocks = []
    for side, row, stages, length in (
        ("encoder", "downsamples", (2, 5, 8), 11),
        ("decoder", "upsamples", (3, 7, 11), 15),
    ):
        layers += [f"{side}.{name}" for name in ("conv1", "head.2", "middle.1.to_qkv", "middle.1.proj")]
        yield from (f"{side}.head.0.gamma", f"{side}.middle.1.norm.gamma")
        blocks += [f"{side}.middle.{number}" for number in (0, 2)]
        blocks += [f"{side}.{row}.{number}" for number in range(length) if number not in stages]
        layers += [f"{side}.{row}.{number}.resample.1" for number in stages]
    layers += [f"encoder.downsamples.{number}.time_conv" for number in (5, 8)]
    layers += [f"decoder.upsamples.{number}.time_conv" for number in (3, 7)]
    yield from (f"{block}.residual.{number}.gamma" for block in blocks for number in (0, 3))
    layers += [f"{block}.residual.{number}" for block in blocks for number in (2, 6)]
    yield from (f"{layer}.{kind}" for layer in layers for kind in BOTH)


NAMES = {
    "transformer": transformer_names,
    "text_encoder": text_names,
    "image_encoder": vision_names,
    "vae": vae_names,
}
