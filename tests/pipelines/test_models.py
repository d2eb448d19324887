"""The list of models: what each needs, and what of it is here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.pipelines import digests, models, tiny_models
from darkroom.pipelines.animate import tiny, tiny_original
from darkroom.pipelines.animate.convert import original
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.models import ModelSet, import_weights, survey
from darkroom.pipelines.upscale.flashvsr.files import MANIFEST, NAMES, PUBLISHED, VERSION_OF
from darkroom.pipelines.upscale.models import MODELS


def listed(folder: Path) -> dict[str, ModelSet]:
    found = list(survey(folder))
    assert len({model.name for model in found}) == len(found)
    return {model.name: model for model in found}


def test_the_embedded_models_are_built_in_and_whole(tmp_path: Path) -> None:
    found = listed(tmp_path / "none")
    for name, model in MODELS.items():
        assert (found[name].state, found[name].summary, found[name].trouble) == ("built in", model.title, "")
        (file,) = found[name].files
        assert file.path is not None and file.size_bytes == file.path.stat().st_size and file.sha256 == model.sha256


def test_a_damaged_embedded_model_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "EMBEDDED", tmp_path)
    (tmp_path / "photo.safetensors").write_bytes(b"x")
    found = listed(tmp_path)
    for name in ("photo", "anime"):
        assert found[name].trouble == f"{tmp_path}/{name}.safetensors: damaged; reinstall darkroomd"
        assert found[name].state == "cannot be used"


def test_what_is_missing_is_listed_with_where_it_is_from_and_what_is_known_of_it(tmp_path: Path) -> None:
    found = listed(tmp_path / "none")
    newer, older = found["flashvsr 1.1"], found["flashvsr 1"]
    assert (newer.state, newer.incomplete, newer.place) == ("files are missing", True, tmp_path / "none/flashvsr-v1.1")
    assert "put there" in newer.trouble
    assert [file.name for file in newer.files] == list(NAMES.values())
    assert {file.verdict for file in (*newer.files, *older.files)} == {"missing"}
    assert {file.sha256 for file in newer.files} == {"", *(known.sha256 for known in PUBLISHED)}
    assert {file.name: file.sha256 for file in older.files if file.sha256}.keys() == {NAMES["vae"]}
    assert {file.origin for file in older.files} == {
        "JunhaoZhuang/FlashVSR",
        "examples/WanVSR/prompt_tensor of the official code repository",
    }


def test_sets_that_are_there_are_ready_with_sizes_and_digests(tmp_path: Path) -> None:
    place = tiny_models.write(tmp_path, "1")
    digests.remember(place / NAMES["vae"], next(known.sha256 for known in PUBLISHED if known.role == "vae"))
    found = listed(tmp_path)
    model = found["flashvsr 1"]
    assert (model.state, model.place, model.trouble) == ("ready", place, "")
    for file in model.files:
        assert file.path == place / file.name
        assert (file.size_bytes, file.sha256) == (file.path.stat().st_size, digests.known(file.path))
        assert file.verdict == ("as published" if file.name == NAMES["vae"] else "there")
    assert found["flashvsr 1.1"].incomplete


@pytest.mark.parametrize(("lacking", "use"), [("vae", "variant full"), ("decoder", "variants tiny and tiny-long")])
def test_a_set_with_one_decoder_is_ready_for_what_that_decodes(tmp_path: Path, lacking: str, use: str) -> None:
    place = tiny_models.write(tmp_path, "1.1")
    (place / {str(role): name for role, name in NAMES.items()}[lacking]).unlink()
    assert listed(tmp_path)["flashvsr 1.1"].state == f"ready, but not for {use}"


def test_an_imported_set_is_listed_as_converted(tmp_path: Path) -> None:
    said = list[str]()
    place = import_weights(tiny_models.write(tmp_path / "from", "1.1"), tmp_path, say=said.append)
    assert len(said) == len(NAMES)
    files = listed(tmp_path)["flashvsr 1.1"].files
    assert {(file.name, file.verdict) for file in files} == {(name, "converted") for name in NAMES.values()}
    assert {file.path.parent for file in files if file.path} == {place}


def test_a_set_of_two_versions_or_of_none_cannot_be_used(tmp_path: Path) -> None:
    place = tiny_models.write(tmp_path, "1")
    digests.remember(place / NAMES["lq"], next(iter(VERSION_OF)))
    tiny_models.write(tmp_path / "other", "1.1").rename(tmp_path / "flashvsr")
    found = listed(tmp_path)
    assert found["flashvsr 1"].state == found["flashvsr ?"].state == "cannot be used"
    assert "mixed files blur the picture" in found["flashvsr 1"].trouble
    assert "nothing says which version" in found["flashvsr ?"].trouble
    (tmp_path / "flashvsr" / MANIFEST).write_text("rubbish")
    assert "manifest.json: damaged" in listed(tmp_path)["flashvsr ?"].trouble


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from pathlib import Path; from darkroom.pipelines.models import survey; list(survey(Path('x')))"
    loaded = subprocess.run([sys.executable, "-P", "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True)
    assert loaded.stdout == b"False\n", loaded.stderr


def test_a_wan_that_is_not_there_is_listed_with_its_place_and_origin(tmp_path: Path) -> None:
    model = listed(tmp_path / "none")["wan2.1-i2v"]
    assert (model.pipeline, model.state, model.place) == ("animate", "files are missing", tmp_path / "none/wan2.1-i2v")
    assert model.trouble.startswith(f"{model.place}: no weights of Wan2.1 I2V; put there the files of Wan-AI/")
    names = {file.name for file in model.files}
    assert {"transformer/diffusion_pytorch_model.safetensors", "model_index.json"} <= names
    assert {(file.verdict, file.origin) for file in model.files} == {
        ("missing", "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers")
    }


def test_a_wan_that_is_there_is_ready_with_sizes_and_digests(tmp_path: Path) -> None:
    place = tiny.write(tmp_path)
    model = listed(tmp_path)["wan2.1-i2v"]
    assert (model.state, model.place, model.trouble) == ("ready", place, "")
    for file in model.files:
        assert file.path == place / file.name
        assert (file.verdict, file.size_bytes) == ("there", file.path.stat().st_size)
        assert file.sha256 == digests.measure(file.path)


def test_a_wan_that_lacks_a_file_is_incomplete_and_a_damaged_one_cannot_be_used(tmp_path: Path) -> None:
    path = tiny.write(tmp_path) / "vae" / "diffusion_pytorch_model.safetensors"
    os.truncate(path, 10_000)
    found = listed(tmp_path)["wan2.1-i2v"]
    assert (found.state, found.incomplete) == ("cannot be used", False)
    assert found.trouble.startswith(f"{path}: damaged")
    path.unlink()
    found = listed(tmp_path)["wan2.1-i2v"]
    assert found.incomplete
    assert [file.name for file in found.files if file.verdict == "missing"] == [
        "vae/diffusion_pytorch_model.safetensors"
    ]


def test_original_files_of_wan_are_listed_with_what_to_do_and_imported_side_by_side(tmp_path: Path) -> None:
    source = tiny_original.write(tmp_path / "models")
    digests.remember(source / "Wan2.1_VAE.pth", original.PUBLISHED["vae"].sha256)
    found = listed(tmp_path / "models")[source.name]
    assert found.state == "cannot be used"
    assert found.trouble.endswith(f"convert them once: darkroom models import {source}")
    assert {file.name: file.verdict for file in found.files if "VAE" in file.name} == {"Wan2.1_VAE.pth": "as published"}
    (source / "digests.json").unlink()
    assert import_weights(source, source.parent, say=lambda line: None) == source
    assert listed(source.parent)[source.name].state == "ready"


def test_an_import_knows_whose_files_they_are_and_what_they_may_be_called(tmp_path: Path) -> None:
    source = tiny_original.write(tmp_path / "from").rename(tmp_path / "from" / "wan")
    assert import_weights(source, tmp_path, "720p", say=lambda line: None) == tmp_path / "wan2.1-i2v-720p"
    with pytest.raises(Unavailable, match=r"wan: has no version 1\.1; choose 480p or 720p, or none"):
        import_weights(source, tmp_path, "1.1")
    with pytest.raises(Unavailable, match=r"has no version 480p; choose 1 or 1\.1, or none"):
        import_weights(tiny_models.write(tmp_path / "from", "1"), tmp_path, "480p")


def test_an_import_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_original.write(tmp_path / "from")
    for name in [name for name in sys.modules if name.startswith("darkroom.pipelines.animate.convert.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(Unavailable, match=r"diffusers is not installed; pip install 'darkroomd\[animate\]'"):
        import_weights(source, tmp_path)
