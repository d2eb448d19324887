"""Finding a set of weights: whole, of one version, and without reading it twice. The files here hold no tensors."""

import hashlib
import json
import struct
from pathlib import Path
from typing import IO, Any

import pytest

from darkroom.pipelines import digests
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr import files as module
from darkroom.pipelines.upscale.flashvsr.architecture import Role
from darkroom.pipelines.upscale.flashvsr.files import FOLDERS, MANIFEST, NAMES, PUBLISHED, Version, find, needed


def lay(place: Path, *roles: Role) -> Path:
    """Write files under the published names of `roles`, all but the large decoder's where none are named."""
    place.mkdir(parents=True, exist_ok=True)
    for role in roles or needed("tiny"):
        (place / NAMES[role]).write_bytes(f"{place.name} {role}".encode())
    return place


def publish(path: Path, *, version: str = "1.1") -> None:
    """Let `path` be known as what was published for its role, as if its bytes were."""
    (sha256,) = (known.sha256 for known in PUBLISHED if NAMES[known.role] == path.name and known.version == version)
    digests.remember(path, sha256)


def convert(place: Path, version: str, *roles: Role) -> None:
    """Replace the published files of `roles` by converted ones."""
    notes: dict[str, Any] = {}
    for role in roles:
        path = place / f"{role}.safetensors"
        path.write_bytes(b"converted")
        official = place / NAMES[role]
        source = {"name": official.name, "size_bytes": 1, "sha256": digests.digest(official)}
        notes[path.name] = {"role": role, "size_bytes": 9, "sha256": digests.digest(path), "source": source}
        official.unlink()
    (place / MANIFEST).write_text(json.dumps({"version": version, "dtype": "bfloat16", "files": notes}))


def refusal(folder: Path, version: Version = "auto") -> str:
    with pytest.raises(Unavailable) as caught:
        find(folder, version, "tiny")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("variant", "decoder"), [("tiny", "decoder"), ("tiny-long", "decoder"), ("full", "vae")])
def test_a_set_is_found_with_the_files_its_variant_reads(tmp_path: Path, variant: Any, decoder: Role) -> None:
    place = lay(tmp_path / "flashvsr-v1.1", *NAMES)
    found = find(tmp_path, "auto", variant)
    assert {file.role: file.path.name for file in found.files} == {
        "dit": NAMES["dit"],
        "lq": NAMES["lq"],
        decoder: NAMES[decoder],
        "prompt": NAMES["prompt"],
    }
    assert all(file.sha256 == digests.known(place / file.path.name) == file.source_sha256 for file in found.files)
    assert (found.version, found.causal, found.warnings) == ("1.1", True, ())


def test_the_name_of_the_folder_tells_the_version_and_the_newer_goes_first(tmp_path: Path) -> None:
    lay(tmp_path / "FlashVSR-v1")
    assert (find(tmp_path, "auto", "tiny").version, find(tmp_path, "1", "tiny").causal) == ("1", False)
    lay(tmp_path / "flashvsr-v1.1", "dit", "lq")
    assert find(tmp_path, "auto", "tiny").version == "1", "1.1 is not whole"
    lay(tmp_path / "flashvsr-v1.1")
    assert [find(tmp_path, asked, "tiny").version for asked in ("auto", "1", "1.1")] == ["1.1", "1", "1.1"]


def test_of_two_folders_of_one_version_the_one_in_lower_case_is_taken(tmp_path: Path) -> None:
    for name in ("FlashVSR-v1.1", "flashvsr-v1.1"):
        lay(tmp_path / name)
    assert find(tmp_path, "auto", "tiny").files[0].path.parent.name == "flashvsr-v1.1"


def test_the_digest_of_a_set_depends_on_its_content_and_not_on_its_place(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        lay(tmp_path / folder / "flashvsr-v1.1")
    first, second = (find(tmp_path / folder, "auto", "tiny") for folder in ("a", "b"))
    assert first.sha256 == second.sha256
    (tmp_path / "b" / "flashvsr-v1.1" / NAMES["lq"]).write_bytes(b"other")
    assert find(tmp_path / "b", "auto", "tiny").sha256 != first.sha256


def test_files_are_read_for_their_digest_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path / "flashvsr-v1.1")
    before = find(tmp_path, "auto", "tiny")
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert find(tmp_path, "auto", "tiny") == before


def test_what_is_missing_is_named_with_its_place_and_how_to_get_it(tmp_path: Path) -> None:
    place = lay(tmp_path / "flashvsr-v1.1", "dit", "decoder")
    assert refusal(tmp_path) == (
        f"{place}: no LQ_proj_in.ckpt, posi_prompt.pth; put there LQ_proj_in.ckpt from the model repository"
        " JunhaoZhuang/FlashVSR-v1.1 and posi_prompt.pth from examples/WanVSR/prompt_tensor of the official code"
        " repository, or set another model"
    )
    lay(place, "lq")
    assert refusal(tmp_path) == (
        f"{place}: no posi_prompt.pth; put there posi_prompt.pth from examples/WanVSR/prompt_tensor of the official"
        " code repository, or set another model"
    )


def test_nothing_at_all_is_asked_for_in_the_folder_of_the_version_that_is_wanted(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").startswith(f"{tmp_path}/none/flashvsr-v1.1: no {NAMES['dit']}, ")
    words = refusal(tmp_path, "1")
    assert words.startswith(f"{tmp_path}/flashvsr-v1: ") and "repository JunhaoZhuang/FlashVSR and" in words
    lay(tmp_path / "flashvsr-v1", "dit")
    assert refusal(tmp_path).startswith(f"{tmp_path}/flashvsr-v1: no LQ_proj_in.ckpt"), "what was begun goes first"


def test_a_folder_without_a_version_in_its_name_is_told_by_digest_else_by_the_option(tmp_path: Path) -> None:
    place = lay(tmp_path / "flashvsr")
    assert "nothing says which version" in refusal(tmp_path)
    assert [find(tmp_path, asked, "tiny").version for asked in ("1", "1.1")] == ["1", "1.1"]
    publish(place / NAMES["lq"])
    assert find(tmp_path, "auto", "tiny").version == "1.1"
    assert "of version 1.1 (LQ_proj_in.ckpt was published with it) and of version 1 (the option" in refusal(
        tmp_path, "1"
    )


@pytest.mark.parametrize("role", ["dit", "lq"])
def test_a_file_of_one_version_in_the_folder_of_the_other_is_refused(tmp_path: Path, role: Any) -> None:
    place = lay(tmp_path / FOLDERS["1"])
    publish(place / NAMES[role])
    assert refusal(tmp_path) == (
        f"{place}: of version 1 (its folder is called flashvsr-v1) and of version 1.1 ({NAMES[role]} was published with"
        " it): mixed files blur the picture; give each version a folder of its own"
    )


def test_two_files_that_must_fit_are_doubted_where_only_one_is_published(tmp_path: Path) -> None:
    place = lay(tmp_path / "flashvsr-v1.1")
    publish(place / NAMES["dit"])
    (warning,) = find(tmp_path, "auto", "tiny").warnings
    assert warning.startswith(f"LQ_proj_in.ckpt is not the file published with {NAMES['dit']};")
    publish(place / NAMES["lq"])
    assert find(tmp_path, "auto", "tiny").warnings == ()


def test_a_file_in_the_other_container_will_do(tmp_path: Path) -> None:
    place = lay(tmp_path / "flashvsr-v1.1")
    (place / NAMES["lq"]).rename(place / "LQ_proj_in.safetensors")
    assert find(tmp_path, "auto", "tiny").files[1].path.name == "LQ_proj_in.safetensors"


def test_the_projection_may_lie_in_the_transformers_file(tmp_path: Path) -> None:
    place = lay(tmp_path / "flashvsr-v1.1", "dit", "decoder", "prompt")
    assert "no LQ_proj_in.ckpt;" in refusal(tmp_path)
    header = json.dumps({"LQ_proj_in.conv1.bias": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (place / NAMES["dit"]).write_bytes(struct.pack("<Q", len(header)) + header)
    found = {file.role: file.path.name for file in find(tmp_path, "auto", "tiny").files}
    assert found["lq"] == found["dit"] == NAMES["dit"]


def test_converted_files_go_first_and_keep_what_is_known_of_their_sources(tmp_path: Path) -> None:
    place = lay(tmp_path / "flashvsr-v1.1")
    publish(place / NAMES["lq"])
    convert(place, "1.1", "lq")
    lay(place, "lq")
    file = find(tmp_path, "auto", "tiny").files[1]
    assert file.path.name == "lq.safetensors" and file.source_sha256 in module.VERSION_OF
    assert file.sha256 == digests.known(file.path)


def test_a_converted_set_of_another_version_is_refused(tmp_path: Path) -> None:
    convert(lay(tmp_path / "flashvsr-v1.1"), "1", "dit", "lq")
    assert "of version 1.1 (its folder is called flashvsr-v1.1) and of version 1 (manifest.json" in refusal(tmp_path)


@pytest.mark.parametrize("data", [b"shorter", b"different"])
def test_a_damaged_converted_file_is_refused(tmp_path: Path, data: bytes) -> None:
    place = lay(tmp_path / "flashvsr-v1.1")
    convert(place, "1.1", "decoder")
    (place / "decoder.safetensors").write_bytes(data)
    assert f"{place}/decoder.safetensors: damaged" in refusal(tmp_path)


@pytest.mark.parametrize(
    "rubbish", ["", "[]", '{"version": "2", "dtype": "x"}', '{"version": "1.1", "files": {"a": 1}}']
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, rubbish: str) -> None:
    (lay(tmp_path / "flashvsr-v1.1") / MANIFEST).write_text(rubbish)
    assert "manifest.json: damaged; remove it and import the weights again" in refusal(tmp_path)


def test_a_file_that_cannot_be_read_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(file: IO[bytes], name: str) -> None:
        raise PermissionError(13, "Permission denied", file.name)

    lay(tmp_path / "flashvsr-v1.1")
    monkeypatch.setattr(hashlib, "file_digest", deny)
    assert "cannot be read (Permission denied); let this user read it" in refusal(tmp_path)
