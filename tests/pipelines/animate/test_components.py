"""The parts of a model: loaded when used, in the types they are to run in, kept, and refused if they are not whole."""

import sys
from pathlib import Path

import pytest
import torch
from patience import patiently
from safetensors.torch import load_file, save_file
from tiny_wan import tiny_components

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.components import load
from darkroom.pipelines.animate.weights import find
from darkroom.pipelines.errors import Unavailable

EXACT = {"norm1", "norm2", "norm3", "time_embedder", "scale_shift_table"}  # float32 in every model of Wan


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models")).parent


def test_nothing_is_loaded_before_it_is_used_and_what_is_released_is_loaded_anew(models: Path) -> None:
    parts = load(find(models), torch.float32)
    assert "vae" not in parts
    first = parts.vae
    assert "vae" in parts and "transformer" not in parts and parts.vae is first
    parts.release("vae")
    assert parts.vae is not first


def test_the_parts_are_kept_for_the_process_until_others_are_asked_for(models: Path) -> None:
    parts = load(find(models), torch.float32)
    assert load(find(models), torch.float32) is parts
    assert load(find(models), torch.bfloat16) is not parts


def test_the_numbers_are_those_that_were_written(models: Path) -> None:
    parts, wanted = load(find(models), torch.float32), tiny_components()
    for name in ("text_encoder", "image_encoder", "transformer", "vae"):
        found, there = getattr(parts, name).state_dict(), getattr(wanted, name).state_dict()
        assert found.keys() == there.keys()
        assert all(torch.equal(found[key], there[key]) for key in there)
    words = ["a cat, at night"]
    assert parts.tokenizer(words).input_ids == wanted.tokenizer(words).input_ids
    assert parts.image_processor.crop_size == wanted.image_processor.crop_size
    assert parts.scheduler["flow_shift"] == wanted.scheduler["flow_shift"] == 3.0


def test_large_parts_are_in_16_bits_but_for_what_must_be_exact_and_small_ones_in_32(models: Path) -> None:
    parts = load(find(models))
    for name, tensor in parts.transformer.named_parameters():
        assert tensor.dtype == (torch.float32 if EXACT & set(name.split(".")) else torch.bfloat16), name
    assert parts.transformer.rope.freqs_cos.dtype == torch.float32
    assert {tensor.dtype for tensor in parts.text_encoder.parameters()} == {torch.bfloat16}
    small = (*parts.image_encoder.parameters(), *parts.vae.parameters())
    assert {tensor.dtype for tensor in small} == {torch.float32}


def test_nothing_is_to_be_trained(models: Path) -> None:
    parts = load(find(models), torch.float32)
    for model in (parts.text_encoder, parts.image_encoder, parts.transformer, parts.vae):
        assert not model.training and not any(tensor.requires_grad for tensor in model.parameters())


@pytest.mark.parametrize("component", ["transformer", "text_encoder"])
@pytest.mark.parametrize("fault", ["lacks", "has another"])
def test_weights_that_are_not_what_the_configuration_says_are_refused(
    tmp_path: Path, component: str, fault: str
) -> None:
    place = tiny.write(tmp_path)
    (path,) = (place / component).glob("*.safetensors")
    tensors = load_file(path)
    if fault == "lacks":
        del tensors[min(tensors)]
    else:
        tensors["another"] = torch.zeros(1)
    save_file(tensors, path)
    parts = load(find(tmp_path), torch.float32)
    with pytest.raises(Unavailable, match=f"{component}: .*; fetch "):
        getattr(parts, component)


def test_the_command_line_and_the_options_start_without_the_heavy_libraries() -> None:
    code = "import sys, darkroom.daemon.cli, darkroom.pipelines.animate.options; print(*sys.modules)"
    done = patiently([sys.executable, "-P", "-c", code], check=True)
    modules = set(done.stdout.split())
    assert "darkroom.pipelines.animate.options" in modules
    assert not modules & {"torch", "diffusers", "transformers", "accelerate", "tokenizers"}


def test_the_librarys_classes_are_there_beside_a_room_called_kernels() -> None:
    code = (
        "import sys, darkroom.kernels.device;"
        "from diffusers import WanImageToVideoPipeline, WanTransformer3DModel, AutoencoderKLWan;"
        "from transformers import CLIPVisionModel, UMT5EncoderModel;"
        "assert 'kernels' not in sys.modules; print(UMT5EncoderModel.__name__)"
    )
    done = patiently([sys.executable, "-P", "-c", code])
    assert done.stdout == "UMT5EncoderModel\n", done.stderr
