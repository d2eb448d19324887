"""Models without numbers: their sizes are read off the shapes of original tensors."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from transformers import AutoTokenizer, CLIPImageProcessorPil

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.convert.configs import (
    configured,
    skeleton,
    write_config,
    write_index,
    write_preprocessing,
    write_scheduler,
)
from darkroom.pipelines.animate.layout import STEMS, Component

WAN: dict[str, tuple[int, ...]] = {  # as published
    "patch_embedding.weight": (5120, 36, 1, 2, 2),
    "text_embedding.0.weight": (5120, 4096),
    "time_embedding.0.weight": (5120, 256),
    "blocks.39.ffn.0.weight": (13824, 5120),
    "blocks.0.ffn.0.weight": (13824, 5120),
    "img_emb.proj.0.weight": (1280,),
}
UMT5: dict[str, tuple[int, ...]] = {
    "token_embedding.weight": (256384, 4096),
    "blocks.0.pos_embedding.embedding.weight": (32, 64),
    "blocks.0.attn.q.weight": (4096, 4096),
    "blocks.0.ffn.fc1.weight": (10240, 4096),
    "blocks.23.norm1.weight": (4096,),
}
CLIP: dict[str, tuple[int, ...]] = {
    "visual.patch_embedding.weight": (1280, 3, 14, 14),
    "visual.pos_embedding": (1, 257, 1280),
    "visual.transformer.0.mlp.0.weight": (5120, 1280),
    "visual.transformer.31.mlp.0.weight": (5120, 1280),
}
VAE: dict[str, tuple[int, ...]] = {"encoder.conv1.weight": (96, 3, 3, 3, 3), "conv2.weight": (16, 16, 1, 1, 1)}
CONFIG = {"num_heads": 40, "out_dim": 16, "eps": 1e-6}


@pytest.mark.parametrize(
    ("component", "shapes", "parameters"),
    [  # of the published ones, by the library
        ("transformer", WAN, 16_394_878_784),
        ("text_encoder", UMT5, 5_680_910_336),
        ("image_encoder", CLIP, 630_766_080),
        ("vae", VAE, 126_892_531),
    ],
)
def test_the_published_shapes_give_models_of_the_published_size(
    component: Component, shapes: dict[str, tuple[int, ...]], parameters: int
) -> None:
    made = skeleton(component, shapes, CONFIG)
    assert {tensor.device.type for tensor in made.parameters()} == {"meta"}
    assert sum(tensor.numel() for tensor in made.parameters()) == parameters


def test_what_no_shape_tells_is_as_published() -> None:
    clip, umt5 = skeleton("image_encoder", CLIP, {}).config, skeleton("text_encoder", UMT5, {}).config
    assert (clip.num_attention_heads, clip.image_size, clip.patch_size, clip.hidden_act) == (16, 224, 14, "gelu")
    assert (umt5.d_kv, umt5.relative_attention_max_distance, umt5.is_gated_act) == (64, 128, True)
    assert skeleton("transformer", WAN, CONFIG).config.attention_head_dim == 128


@pytest.mark.parametrize("component", STEMS)
def test_shapes_of_something_else_are_an_error(component: Component) -> None:
    with pytest.raises(LookupError):
        skeleton(component, {"a": (1,)}, CONFIG)


@pytest.mark.parametrize("component", STEMS)
def test_a_configuration_that_was_written_describes_the_same_model(component: Component, tmp_path: Path) -> None:
    made: Any = getattr(tiny.components(), component)
    write_config(tmp_path, made, torch.bfloat16)
    found = configured(component, tmp_path)
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (found, made)]
    assert shapes[0] == shapes[1]


def test_the_image_processor_takes_the_side_of_the_model(tmp_path: Path) -> None:
    write_preprocessing(tmp_path, 224)
    found = CLIPImageProcessorPil.from_pretrained(tmp_path, local_files_only=True)
    assert (found.crop_size["height"], found.size["shortest_edge"]) == (224, 224)


@pytest.mark.parametrize(("resolution", "shift"), [("480p", 3.0), ("720p", 5.0), (None, 3.0)])
def test_the_schedule_is_that_of_the_resolution(tmp_path: Path, resolution: Any, shift: float) -> None:
    write_scheduler(tmp_path, resolution)
    found = UniPCMultistepScheduler.from_pretrained(tmp_path, local_files_only=True).config
    assert (found.flow_shift, found.prediction_type, found.use_flow_sigmas) == (shift, "flow_prediction", True)


def test_the_index_names_a_class_for_each_component(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    write_index(tmp_path / "x.json", AutoTokenizer.from_pretrained(tmp_path / tiny.FOLDER / "tokenizer"))
    found = json.loads((tmp_path / "x.json").read_text())
    published = json.loads((tmp_path / tiny.FOLDER / "model_index.json").read_text())
    assert found["_class_name"] == "WanImageToVideoPipeline"
    for component in ("tokenizer", "text_encoder", "image_encoder", "transformer", "vae", "scheduler"):
        assert found[component] == published[component]
