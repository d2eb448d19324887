"""The list of models: what each needs, and what of it is here."""

import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.pipelines import digests, models, tiny_models
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
