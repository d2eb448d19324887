from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon.config import Folder
from darkroom.daemon.job import Signature
from darkroom.daemon.sidecar import (
    fault_beside,
    fault_in,
    owner_of,
    parse_sidecar,
    read_sidecar,
    sidecar_of,
    sidecar_signature,
)


def folder(**options: Any) -> Folder:
    settings = {"name": "films", "pipeline": "upscale", "inbox": "/in", "outbox": "/out", "options": options}
    return Folder.model_validate(settings)


def test_a_sidecar_lies_beside_its_file_and_yaml_goes_before_yml() -> None:
    files = {b"d/a.mkv", b"d/a.mkv.yml", b"b.mkv", b"b.mkv.yml", b"b.mkv.yaml", b"c.mkv"}
    assert sidecar_of(b"d/a.mkv", files) == b"d/a.mkv.yml"
    assert sidecar_of(b"b.mkv", files) == b"b.mkv.yaml"
    assert sidecar_of(b"c.mkv", files) is None


def test_the_owner_of_a_sidecar_is_its_name_without_the_ending() -> None:
    assert owner_of(b"d/a.mkv.yaml") == b"d/a.mkv"
    assert owner_of(b"a.mkv.yml") == b"a.mkv"
    assert owner_of(b"a.mkv") is None


def test_options_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv.yaml"
    path.write_text("scale: 4\nmodel: anime\n")
    assert read_sidecar(path) == {"scale": 4, "model": "anime"}


def test_an_empty_sidecar_changes_no_option() -> None:
    assert parse_sidecar(b"") == {}
    assert parse_sidecar(b"# nothing yet\n") == {}


def test_a_link_is_no_sidecar(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("scale: 4")
    (tmp_path / "a.mkv.yaml").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"):
        read_sidecar(tmp_path / "a.mkv.yaml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"- a\n- b\n", "expected options such as `scale: 4`, got list"),
        (b"just words", "expected options such as `scale: 4`, got str"),
        (b"scale: [1, 2", "not usable YAML"),
        (b"a: \xff\xfe", "not usable YAML"),
        (b"scale: !!python/object/apply:os.system ['true']", "not usable YAML"),
        (b"when: 2024-01-31", "not usable YAML"),  # a date cannot be kept in the journal
        (b"when: 2024-99-99", "not usable YAML"),
        (b"n: " + b"9" * 5000, "not usable YAML"),  # more digits than Python converts
        (b"[" * 5000, "not usable YAML"),
        (b"a: &a [x]\nb: *a", "an alias"),  # nine levels of ten make gigabytes
        (b"a: " + b"x" * 70_000, "longer than 64 KiB"),
    ],
)
def test_a_faulty_sidecar_says_what_is_wrong_in_one_line(text: bytes, fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_sidecar(text)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_named_with_the_nearest_known_one() -> None:
    assert fault_in({"scal": 3}, folder()) == "scal: unknown key; did you mean scale?"


def test_all_faults_are_in_one_line() -> None:
    fault = fault_in({"scal": 3, "model": "vhs"}, folder())
    assert "scal: unknown key" in fault and "model: " in fault and "; " in fault and "\n" not in fault


def test_options_are_checked_on_top_of_those_of_the_folder() -> None:
    assert fault_in({"target_height": 720}, folder()) == ""
    assert "exclude each other" in fault_in({"target_height": 720}, folder(scale=2))


def test_a_key_that_is_no_word_is_a_fault() -> None:
    assert fault_in(parse_sidecar(b"1: 2"), folder())


def test_the_signature_of_a_sidecar_leaves_out_its_inode() -> None:
    one = Signature(size_bytes=10, mtime_ns=5, inode=1)
    assert sidecar_signature(one) == sidecar_signature(Signature(size_bytes=10, mtime_ns=5, inode=2))
    assert sidecar_signature(one) != sidecar_signature(Signature(size_bytes=10, mtime_ns=6, inode=1))


def test_the_fault_of_the_sidecar_beside_a_file_comes_with_its_name(tmp_path: Path) -> None:
    source, sidecar = tmp_path / "a.mkv", tmp_path / "a.mkv.yml"
    assert fault_beside(source, folder()) == ""
    sidecar.write_text("scale: 4")
    assert fault_beside(source, folder()) == ""
    sidecar.write_text("scal: 4")
    assert fault_beside(source, folder()) == "a.mkv.yml: scal: unknown key; did you mean scale?"
    sidecar.write_text("- 4")
    assert fault_beside(source, folder()).startswith("a.mkv.yml: expected options")
