"""What is noted of imported weights, and files that are no longer what was noted."""

from pathlib import Path

import pytest

from darkroom.pipelines.animate.manifest import MANIFEST, Manifest, Noted, check_noted, read_manifest
from darkroom.pipelines.errors import Unavailable

NOTED = Manifest(resolution=None, files={"vae/a": Noted(size_bytes=3, sha256="ab")}, sources={})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / MANIFEST).write_text(NOTED.model_dump_json())
    assert read_manifest(tmp_path) == NOTED


def test_a_damaged_manifest_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(Unavailable) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == f"{tmp_path}/{MANIFEST}: damaged; remove {tmp_path} and import the weights again"


def test_files_must_be_as_noted_where_anything_is(tmp_path: Path) -> None:
    check_noted(tmp_path, None, "vae/a", 4, "cd")
    check_noted(tmp_path, NOTED, "vae/b", 4, "cd")
    check_noted(tmp_path, NOTED, "vae/a", 3)
    check_noted(tmp_path, NOTED, "vae/a", 3, "ab")
    with pytest.raises(Unavailable, match="vae/a: damaged, 4 bytes and not 3"):
        check_noted(tmp_path, NOTED, "vae/a", 4)
    with pytest.raises(Unavailable, match=r"vae/a: damaged, its SHA-256 is not that in manifest\.json"):
        check_noted(tmp_path, NOTED, "vae/a", 3, "cd")
