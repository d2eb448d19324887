"""What will be written: exactly the tensors of the library's models, or a refusal that names what differs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.pipelines.animate import tiny, tiny_original
from darkroom.pipelines.animate.convert.models import model_of, models_of
from darkroom.pipelines.animate.convert.source import Source, source_at
from darkroom.pipelines.errors import Unavailable

VAE = "Wan2.1_VAE.pth"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tiny_original.write(tmp_path)


def refusal(place: Path) -> str:
    with pytest.raises(Unavailable) as caught:
        models_of(source_at(place))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_vae(place: Path, **tensors: torch.Tensor | None) -> None:
    found = torch.load(place / VAE, weights_only=True) | tensors
    torch.save({name: tensor for name, tensor in found.items() if tensor is not None}, place / VAE)


def test_each_model_gets_exactly_its_tensors_with_the_numbers_of_the_source(place: Path) -> None:
    wanted = tiny.components()
    for component, model in models_of(source_at(place)).items():
        there = getattr(wanted, component).state_dict()
        assert there.keys() - model.targets.keys() <= {"encoder.embed_tokens.weight"}
        for name, target in model.targets.items():
            assert torch.equal(target.tensor.reshape(target.shape).float(), there[name]), name
        assert model.size_bytes == sum(target.size_bytes for target in model.targets.values())


def test_a_target_says_where_its_numbers_are_from(place: Path) -> None:
    targets = model_of("image_encoder", source_at(place)).targets
    assert targets["encoder.layers.1.self_attn.v_proj.bias"].source == (
        f"{place}/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth: visual.transformer.1.attn.to_qkv.bias"
    )


def test_all_that_differs_is_in_one_message(place: Path) -> None:
    change_vae(place, **{"conv1.bias": None, "another": torch.zeros(2), "decoder.head.2.bias": torch.zeros(4)})
    assert refusal(place) == (
        f"{place}/{VAE}: not the vae of Wan2.1 I2V: lacks quant_conv.bias, has the unknown another,"
        " has decoder.conv_out.bias of [4] and not [3]; fetch it again"
    )


def test_many_names_of_one_kind_are_counted(place: Path) -> None:
    change_vae(place, **{f"x{number}": torch.zeros(1) for number in range(9)})
    assert "x0, x1, x2, x3, x4, x5 and 3 more" in refusal(place)


def test_numbers_that_are_whole_are_refused(place: Path) -> None:
    change_vae(place, **{"conv1.bias": torch.zeros(32, dtype=torch.int8)})
    assert "has quant_conv.bias in torch.int8" in refusal(place)


def test_a_file_of_another_model_is_refused(place: Path) -> None:
    (place / "models_t5_umt5-xxl-enc-bf16.pth").write_bytes((place / VAE).read_bytes())
    assert refusal(place).startswith(
        f"{place}/models_t5_umt5-xxl-enc-bf16.pth: not the text_encoder of Wan2.1 I2V (KeyError"
    )


def test_the_transformer_for_first_and_last_image_is_known_by_its_tensors(place: Path) -> None:
    shard = place / "diffusion_pytorch_model-00001-of-00003.safetensors"
    save_file({**load_file(shard), "img_emb.emb_pos": torch.zeros(1, 34, 160)}, shard)
    assert "the transformer: is of Wan2.1 FLF2V, which wants a last image too" in refusal(place)


def test_the_layout_of_the_library_is_held_to_its_configuration(tmp_path: Path) -> None:
    place = tiny.write(tmp_path)
    path = place / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["proj_out.bias"]
    save_file(tensors, path)
    assert refusal(place) == f"{path}: not the transformer of Wan2.1 I2V: lacks proj_out.bias; fetch it again"


def test_tensors_stay_in_their_files_until_they_are_written(place: Path) -> None:
    source: Source = source_at(place)
    model = model_of("transformer", source)
    path = source.weights("transformer")[0]
    tensors = load_file(path)
    name = next(iter(tensors))
    before = {target.source: target.tensor for target in model.targets.values()}[f"{path}: {name}"]
    data = path.read_bytes()
    at = data.index(tensors[name].numpy().tobytes())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\0" * tensors[name].nbytes)
    assert not before.any()
