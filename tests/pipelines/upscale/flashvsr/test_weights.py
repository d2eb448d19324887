"""Loading weights: the published layouts and their common redistributions, and everything else refused in one line."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.pipelines import tiny_models
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr.architecture import expected_keys
from darkroom.pipelines.upscale.flashvsr.files import NAMES, find
from darkroom.pipelines.upscale.flashvsr.weights import FEW, Tensors, load, read

TINY = tiny_models.TINY


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tiny_models.write(tmp_path, "1.1")


def loaded(place: Path, variant: Any = "tiny") -> Tensors:
    return load(find(place.parent, "auto", variant))


def refusal(place: Path, variant: Any = "tiny") -> str:
    with pytest.raises(Unavailable) as caught:
        loaded(place, variant)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what a file holds, in its own container."""
    tensors = read(path)
    changed = change({key: value.clone() for key, value in tensors.items()})
    save_file(changed, path) if path.suffix == ".safetensors" else torch.save(changed, path)


def same(found: Any, wanted: Any) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_published_files_load_as_they_are(place: Path) -> None:
    tiny, full = loaded(place), loaded(place, "full")
    assert same(tiny.dit, load_file(place / NAMES["dit"]))
    assert same(tiny.lq, torch.load(place / NAMES["lq"], weights_only=True))
    assert tiny.decoder is not None and same(tiny.decoder, torch.load(place / NAMES["decoder"], weights_only=True))
    assert full.vae is not None and same(full.vae, torch.load(place / NAMES["vae"], weights_only=True))
    assert torch.equal(tiny.prompt, torch.load(place / NAMES["prompt"], weights_only=True))
    assert (tiny.vae, full.decoder) == (None, None)
    assert tiny.lq["conv1.weight"].dtype is torch.bfloat16 and tiny.dit["head.modulation"].dtype is torch.float32


def test_a_type_may_be_asked_for(place: Path) -> None:
    found = load(find(place.parent, "auto", "tiny"), torch.float16)
    assert found.decoder is not None
    tensors = [*found.dit.values(), *found.lq.values(), *found.decoder.values(), found.prompt]
    assert {tensor.dtype for tensor in tensors} == {torch.float16}


def test_heads_may_be_given(place: Path) -> None:
    assert load(find(place.parent, "auto", "tiny"), heads=8).architecture.heads == 8


def test_nothing_is_read_before_it_is_used(place: Path) -> None:
    """What lies behind the tensors is the file itself: a change of its bytes shows."""
    for role, variant in (("dit", "tiny"), ("lq", "tiny"), ("decoder", "tiny"), ("vae", "full")):
        path = place / NAMES[role]  # type: ignore[index]
        tensors = getattr(loaded(place, variant), role)
        sample = next(iter(tensors.values())).flatten()[:64].contiguous().view(torch.uint8).numpy().tobytes()
        with path.open("r+b") as file:
            where = file.read().index(sample)
            file.seek(where)
            file.write(bytes(len(sample)))
        name = next(iter(tensors))
        assert not tensors[name].flatten()[:64].any(), role


@pytest.mark.parametrize("nest", [lambda t: {"model_state": t}, lambda t: {f"model.{key}": t[key] for key in t}])
def test_the_large_decoder_loads_nested_prefixed_and_with_its_encoder(place: Path, nest: Any) -> None:
    wanted = loaded(place, "full").vae
    assert wanted is not None
    wanted = {key: value.clone() for key, value in wanted.items()}
    encoder = {"encoder.conv1.weight": torch.zeros(4, 3, 3, 3, 3), "conv1.weight": torch.zeros(32, 32, 1, 1, 1)}
    rewrite(place / NAMES["vae"], lambda tensors: nest(encoder | tensors))
    found = loaded(place, "full").vae
    assert found is not None and same(found, wanted)


def test_the_projection_loads_from_the_transformers_file(place: Path) -> None:
    before = loaded(place)
    lq = {f"LQ_proj_in.{key}": value.clone() for key, value in before.lq.items()}
    rewrite(place / NAMES["dit"], lambda tensors: tensors | lq)
    both = loaded(place)
    assert same(both.dit, before.dit) and same(both.lq, before.lq), "its own file goes first"
    (place / NAMES["lq"]).unlink()
    folded = loaded(place)
    assert same(folded.lq, {key.removeprefix("LQ_proj_in."): value for key, value in lq.items()})
    assert folded.dit.keys() == before.dit.keys()


def test_files_older_than_archives_load_without_being_mapped(place: Path) -> None:
    wanted = {key: value.clone() for key, value in loaded(place).lq.items()}
    torch.save(wanted, place / NAMES["lq"], _use_new_zipfile_serialization=False)
    assert same(loaded(place).lq, wanted)


def test_all_faults_of_all_files_are_in_one_line(place: Path) -> None:
    rewrite(
        place / NAMES["lq"], lambda t: {**t, "conv3.bias": torch.zeros(2)} | {"norm1.gamma": torch.ones(3, 1, 1, 1)}
    )
    rewrite(place / NAMES["decoder"], lambda t: {k: v for k, v in t.items() if not k.startswith("decoder.12.")})
    rewrite(place / NAMES["dit"], lambda t: t | {"head.head.bias": torch.zeros(64, dtype=torch.int8)})
    assert refusal(place) == (
        f"{place}: not the weights of FlashVSR: {NAMES['dit']} has head.head.bias in torch.int8, which is not"
        " supported; LQ_proj_in.ckpt has the unknown conv3.bias, has norm1.gamma of [3, 1, 1, 1] and not [16, 1, 1, 1];"
        " TCDecoder.ckpt lacks decoder.12.conv.0.bias, decoder.12.conv.0.weight, decoder.12.conv.2.bias,"
        " decoder.12.conv.2.weight, decoder.12.conv.4.bias, decoder.12.conv.4.weight; fetch these files again"
    )


def test_what_the_small_decoder_s_file_holds_beside_its_tensors_is_named_and_not_used(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = {key: value.clone() for key, value in (loaded(place).decoder or {}).items()}
    rewrite(place / NAMES["decoder"], lambda t: t | {"encoder.0.weight": torch.zeros(5, 5)})
    found = loaded(place).decoder or {}
    assert same({key: found[key] for key in wanted}, wanted)
    assert "TCDecoder.ckpt: has the unknown encoder.0.weight, which is not used" in caplog.text


def test_long_lists_of_names_are_cut_with_their_number(place: Path) -> None:
    rewrite(place / NAMES["dit"], lambda t: {key: value for key, value in t.items() if "blocks.1.self" not in key})
    lost = [key for key in expected_keys(TINY)["dit"] if "blocks.1.self" in key]
    assert f"and {len(lost) - FEW} more; fetch" in refusal(place)


def test_weights_of_two_widths_do_not_go_together(place: Path, tmp_path: Path) -> None:
    rewrite(place / NAMES["prompt"], lambda t: t["prompt"][..., :8].clone())
    assert "posi_prompt.pth has prompt of [1, 512, 8] and not [1, 512, 32]" in refusal(place)


@pytest.mark.parametrize("role", ["dit", "lq", "decoder", "prompt"])
def test_other_weights_under_a_published_name_are_refused(place: Path, role: Any) -> None:
    rewrite(place / NAMES[role], lambda t: {"layer.weight": torch.zeros(2, 2)})
    assert "not the weights of FlashVSR" in refusal(place)


class Trap:
    """What a pickle runs when it is read without care."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


def test_code_in_a_pickle_is_not_run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Trap()}, place / NAMES["lq"])
    assert "LQ_proj_in.ckpt: holds more than tensors, and is not read" in refusal(place)
    (place / NAMES["lq"]).write_bytes(pickle.dumps(Trap(), protocol=2))
    assert "LQ_proj_in.ckpt: holds more than tensors, and is not read" in refusal(place)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("role", ["dit", "lq", "prompt"])
@pytest.mark.parametrize("size", [0, 7, 100, 3000])
def test_a_copy_that_broke_off_is_refused(place: Path, role: Any, size: int) -> None:
    path = place / NAMES[role]
    path.write_bytes(path.read_bytes()[:size])
    assert f"{path}: " in refusal(place)


def test_what_is_no_list_of_tensors_is_refused(place: Path) -> None:
    torch.save({"epoch": 3, "weights": [torch.zeros(2)]}, place / NAMES["decoder"])
    assert "TCDecoder.ckpt: cannot be read as weights (no list of tensors by name)" in refusal(place)
