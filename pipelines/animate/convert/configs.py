"""The library's models without numbers, sized by the shapes of original tensors; and the files that describe them"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from darkroom.pipelines.animate.layout import CONFIGS, Component, read_json
from darkroom.pipelines.animate.weights import SHIFTS, Resolution

CLASSES = {
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "image_encoder": ["transformers", "CLIPVisionModel"],
    "image_processor": ["transformers", "CLIPImageProcessor"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
}

Shapes = Mapping[str, tuple[int, ...]]  # of the original tensors, by name

TEXT_DISTANCE = 128  # beyond which all words are as far; no shape tells it
VISION_HEAD = 80  # channels of a head of CLIP's ViT-H: no shape tells it either


def skeleton(component: Component, shapes: Shapes, config: Mapping[str, Any]) -> Any:
    """Give the model of `component`, its tensors without numbers.

    config:  what the authors wrote beside the transformer
    Raises LookupError, TypeError or ValueError where `shapes` or `config` are not of such a model.
    """
    with torch.device("meta"):
        match component:
            case "transformer":
                return _transformer(shapes, config)
            case "text_encoder":
                return _text_encoder(shapes)
            case "image_encoder":
                return _image_encoder(shapes)
            case "vae":
                return AutoencoderKLWan(base_dim=shapes["encoder.conv1.weight"][0], z_dim=shapes["conv2.weight"][0])
    raise ValueError(f"{component} has no weights")


def configured(component: Component, folder: Path) -> Any:
    """Give the model of `component` that the configuration in `folder` describes, its tensors without numbers."""
    with torch.device("meta"):
        match component:
            case "transformer":
                return WanTransformer3DModel.from_config(read_json(folder / CONFIGS[component]))
            case "vae":
                return AutoencoderKLWan.from_config(read_json(folder / CONFIGS[component]))
            case "text_encoder":
                return UMT5EncoderModel(UMT5Config.from_pretrained(folder, local_files_only=True))
            case "image_encoder":
                return CLIPVisionModel(CLIPVisionConfig.from_pretrained(folder, local_files_only=True))
    raise ValueError(f"{component} has no weights")


def _transformer(shapes: Shapes, config: Mapping[str, Any]) -> Any:
    width, channels, *patch = shapes["patch_embedding.weight"]
    heads = int(config["num_heads"])
    return WanTransformer3DModel(
        patch_size=tuple(patch),
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=channels,
        out_channels=int(config["out_dim"]),
        text_dim=shapes["text_embedding.0.weight"][1],
        freq_dim=shapes["time_embedding.0.weight"][1],
        ffn_dim=shapes["blocks.0.ffn.0.weight"][0],
        num_layers=_layers(shapes, "blocks."),
        eps=float(config["eps"]),
        image_dim=shapes["img_emb.proj.0.weight"][0],
        added_kv_proj_dim=width,
    )


def _text_encoder(shapes: Shapes) -> Any:
    words, width = shapes["token_embedding.weight"]
    distances, heads = shapes["blocks.0.pos_embedding.embedding.weight"]
    config = UMT5Config(
        vocab_size=words,
        d_model=width,
        d_kv=shapes["blocks.0.attn.q.weight"][0] // heads,
        d_ff=shapes["blocks.0.ffn.fc1.weight"][0],
        num_layers=_layers(shapes, "blocks."),
        num_heads=heads,
        relative_attention_num_buckets=distances,
        relative_attention_max_distance=TEXT_DISTANCE,
        feed_forward_proj="gated-gelu",
    )
    return UMT5EncoderModel(config)


def _image_encoder(shapes: Shapes) -> Any:
    width, _, patch, _ = shapes["visual.patch_embedding.weight"]
    tokens = shapes["visual.pos_embedding"][-2] - 1  # one is of the whole image
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=shapes["visual.transformer.0.mlp.0.weight"][0],
        num_hidden_layers=_layers(shapes, "visual.transformer."),
        num_attention_heads=width // VISION_HEAD,
        image_size=patch * round(tokens**0.5),
        patch_size=patch,
        hidden_act="gelu",
    )
    return CLIPVisionModel(config)


def _layers(shapes: Shapes, prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in shapes if name.startswith(prefix))


def write_config(folder: Path, model: Any, dtype: torch.dtype) -> None:
    """Write the file that tells the library what to make of the weights in `folder`."""
    if isinstance(model, AutoencoderKLWan | WanTransformer3DModel):
        model.save_config(folder)
        return
    model.config.architectures = [type(model).__name__]
    model.config.dtype = dtype
    model.config.save_pretrained(folder)


def write_preprocessing(folder: Path, side: int) -> None:
    """Write how an image becomes what CLIP sees: `side` pixels square, in CLIP's own scale."""
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(
        folder
    )


def write_index(path: Path, tokenizer: object) -> None:
    """Write the list of a model's components and their classes, by which the library loads all of it."""
    classes = {"tokenizer": ["transformers", type(tokenizer).__name__], **CLASSES}
    index = {"_class_name": "WanImageToVideoPipeline", "_diffusers_version": diffusers.__version__, **classes}
    path.write_text(json.dumps(index, indent=2) + "\n")


def write_scheduler(folder: Path, resolution: Resolution | None) -> None:
    """Write the schedule as published with the weights of `resolution`; None: as with the smaller one."""
    shift = next(shift for shift, published in SHIFTS.items() if published == (resolution or "480p"))
    UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift).save_pretrained(
        folder
    )
