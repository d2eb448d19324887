from pathlib import Path
from typing import Any

import pytest
import toys

from darkroom import pipelines
from darkroom.daemon.config import Folder
from darkroom.daemon.job import Signature
from darkroom.daemon.sidecar import (
    MAX_TAKES,
    fault_beside,
    fault_in,
    lack_of,
    may_be_sidecar,
    names_of,
    owner_of,
    parse_sidecar,
    read_sidecar,
    sidecar_beside,
    sidecar_of,
    sidecar_signature,
    stem_of,
    why_waiting,
)

UPSCALE = pipelines.KINDS["upscale"]


@pytest.fixture(autouse=True)
def paint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)


def folder(pipeline: str = "upscale", **options: Any) -> Folder:
    settings = {"name": "films", "pipeline": pipeline, "inbox": "/in", "outbox": "/out", "options": options}
    return Folder.model_validate(settings)


def said(text: bytes, name: bytes = b"cat.yaml") -> tuple[dict[str, Any], ...]:
    """Return what a sidecar says beside an image."""
    return parse_sidecar(name, text, folder("paint"))


def faults_of(text: bytes, name: bytes = b"cat.yaml") -> str:
    with pytest.raises(ValueError) as caught:
        said(text, name)
    return str(caught.value)


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_sidecar_lies_beside_its_file_and_yaml_goes_before_yml() -> None:
    files = {b"d/a.mkv", b"d/a.mkv.yml", b"b.mkv", b"b.mkv.yml", b"b.mkv.yaml", b"c.mkv", b"c.yaml", b"c.txt"}
    assert sidecar_of(b"d/a.mkv", files, UPSCALE) == b"d/a.mkv.yml"
    assert sidecar_of(b"b.mkv", files, UPSCALE) == b"b.mkv.yaml"
    assert sidecar_of(b"c.mkv", files, UPSCALE) is None


def test_where_a_prompt_is_needed_the_stem_will_do_and_the_first_name_counts(tmp_path: Path) -> None:
    names = [b"cat.jpg.yaml", b"cat.jpg.yml", b"cat.yaml", b"cat.yml", b"cat.txt"]
    assert names_of(b"cat.jpg", toys.PAINT) == names
    for count in range(len(names), 0, -1):
        there = names[count - 1 :]
        assert sidecar_of(b"cat.jpg", there, toys.PAINT) == there[0]
        (tmp_path / there[0].decode()).touch()
        assert sidecar_beside(tmp_path / "cat.jpg", toys.PAINT) == tmp_path / there[0].decode()
    assert sidecar_of(b"cat.jpg", [b"dog.txt", b"cat.jpg.txt"], toys.PAINT) is None
    assert sidecar_beside(tmp_path / "dog.jpg", toys.PAINT) is None


def test_the_owner_of_a_sidecar_is_its_name_without_the_ending() -> None:
    assert owner_of(b"d/a.mkv.yaml") == b"d/a.mkv"
    assert owner_of(b"a.mkv.yml") == b"a.mkv"
    assert owner_of(b"a.mkv") is None and owner_of(b"a.txt") is None


def test_the_stem_is_that_of_the_name_not_of_its_folders() -> None:
    assert [stem_of(path) for path in (b"a.b/cat", b"a.b/cat.x.jpg", b"cat", b"d/.jpg")] == [
        b"a.b/cat",
        b"a.b/cat.x",
        b"cat",
        b"d/.jpg",
    ]


def test_texts_are_sidecars_only_where_a_prompt_is_needed() -> None:
    assert may_be_sidecar(b"cat.txt", toys.PAINT) and may_be_sidecar(b"cat.yml", toys.PAINT)
    assert not may_be_sidecar(b"cat.txt", UPSCALE) and not may_be_sidecar(b"cat.md", toys.PAINT)


def test_the_signature_of_a_sidecar_leaves_out_its_inode() -> None:
    one = Signature(size_bytes=10, mtime_ns=5, inode=1)
    assert sidecar_signature(b"a.yml", one) == sidecar_signature(
        b"a.yaml", Signature(size_bytes=10, mtime_ns=5, inode=2)
    )
    assert sidecar_signature(b"a.yml", one) != sidecar_signature(
        b"a.yml", Signature(size_bytes=10, mtime_ns=6, inode=1)
    )


def test_a_sidecar_renamed_to_a_prompt_says_something_else() -> None:
    same = Signature(size_bytes=10, mtime_ns=5, inode=1)
    assert sidecar_signature(b"cat.yaml", same) != sidecar_signature(b"cat.txt", same)


# -- what it says ----------------------------------------------------------------------------------------------------


def test_options_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv.yaml"
    path.write_text("scale: 4\nmodel: anime\n")
    assert read_sidecar(path, folder()) == ({"scale": 4, "model": "anime"},)


def test_an_empty_sidecar_changes_no_option() -> None:
    assert said(b"") == said(b"# nothing yet\n") == ({},)


def test_a_list_asks_for_a_job_of_each_entry() -> None:
    assert said(b"- prompt: one\n- prompt: two\n  strokes: 5\n-\n") == (
        {"prompt": "one"},
        {"prompt": "two", "strokes": 5},
        {},
    )


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (b"a cat that sings\n", "a cat that sings"),
        (b"\xef\xbb\xbf  two\r\nlines\r\n\r\n", "two\r\nlines"),
        ("eine Katze, 一只猫".encode(), "eine Katze, 一只猫"),
        (b"prompt: [not yaml", "prompt: [not yaml"),
        (b"x" * 65_536, "x" * 65_536),
    ],
)
def test_a_text_is_the_prompt_and_nothing_else(text: bytes, prompt: str) -> None:
    assert said(text, b"cat.txt") == ({"prompt": prompt},)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "empty; write the prompt in it"),
        (b"\xef\xbb\xbf \n\t\n", "empty; write the prompt in it"),
        (b"caf\xe9", "not UTF-8 at byte 3; save it as UTF-8"),
        ("wide".encode("utf-16"), "not UTF-8 at byte 0; save it as UTF-8"),
        (b"x" * 65_537, "longer than 64 KiB; a sidecar holds a few options"),
    ],
)
def test_a_text_that_is_no_prompt_says_why(text: bytes, fault: str) -> None:
    assert faults_of(text, b"cat.txt") == fault


def test_a_link_is_no_sidecar(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("scale: 4")
    (tmp_path / "a.mkv.yaml").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic"):
        read_sidecar(tmp_path / "a.mkv.yaml", folder())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"- a\n- b\n", "entry 2: expected options such as `option: value`, got str"),
        (b"[]", "a list of 0 entries; expected 1 to 500"),
        (b"- {}\n" * (MAX_TAKES + 1), "a list of 501 entries; expected 1 to 500"),
        (b"just words", "expected options such as `option: value`, got str"),
        (b"false", "expected options such as `option: value`, got bool"),
        (b"scale: [1, 2", "not usable YAML"),
        (b"a: \xff\xfe", "not usable YAML"),
        (b"scale: !!python/object/apply:os.system ['true']", "not usable YAML"),
        (b"when: 2024-01-31", "not usable YAML"),  # a date cannot be kept in the journal
        (b"when: 2024-99-99", "not usable YAML"),
        (b"n: " + b"9" * 5000, "not usable YAML"),  # more digits than Python converts
        (b"[" * 5000, "not usable YAML"),
        (b"a: &a [x]\nb: *a", "an alias"),  # nine levels of ten make gigabytes
        (b"a: " + b"x" * 70_000, "longer than 64 KiB"),
        (b"1: 2", "1: Keys should be strings"),
    ],
)
def test_a_faulty_sidecar_says_what_is_wrong_in_one_line(text: bytes, fault: str) -> None:
    assert fault in faults_of(text)
    assert "\n" not in faults_of(text)


def test_all_faults_of_all_entries_are_told_at_once_with_their_numbers() -> None:
    assert faults_of(b"[{prompt: a}, {strokes: 0, promt: b}, 7, {strokes: 101}]") == (
        "entry 2: strokes: expected 1 to 100, got 0; entry 2: promt: unknown key; did you mean prompt?;"
        " entry 3: expected options such as `option: value`, got int; entry 4: strokes: expected 1 to 100, got 101"
    )
    assert faults_of(b"[{strokes: 0}]") == "strokes: expected 1 to 100, got 0"
    assert faults_of(b"- 1\n" * 60).endswith("entry 50: expected options such as `option: value`, got int; and 10 more")


def test_what_is_the_owners_to_say_is_refused_from_a_sidecar_and_fine_in_the_folder() -> None:
    asked = b"- {vl: {parallel: 2}}\n- {vl: {url: 'http://169.254.169.254/'}}"
    with pytest.raises(ValueError, match=r"^entry 2: vl.url: for config.yaml to say, not for a sidecar; leave it out$"):
        parse_sidecar(b"a.pdf.yaml", asked, folder("ocr"))
    assert fault_in({"vl": {"parallel": 2}}, folder("ocr", vl={"url": "http://127.0.0.1:9/"})) == ""


@pytest.mark.parametrize(
    ("pipeline", "text"),
    [("ocr", b"model_dir: /etc"), ("ocr", b"model_dir: ../x"), ("animate", b"lora: [{file: /etc/passwd}]")],
)
def test_no_file_outside_the_models_folder_can_be_named(pipeline: str, text: bytes) -> None:
    with pytest.raises(ValueError, match="expected a path below the models folder"):
        parse_sidecar(b"a.png.yaml", text, folder(pipeline))


def test_as_many_entries_as_allowed_are_taken() -> None:
    assert len(said(b"- {}\n" * MAX_TAKES)) == MAX_TAKES


def test_an_unknown_option_is_named_with_the_nearest_known_one() -> None:
    assert fault_in({"scal": 3}, folder()) == "scal: unknown key; did you mean scale?"


def test_all_faults_are_in_one_line() -> None:
    fault = fault_in({"scal": 3, "model": "vhs"}, folder())
    assert "scal: unknown key" in fault and "model: " in fault and "; " in fault and "\n" not in fault


def test_options_are_checked_on_top_of_those_of_the_folder() -> None:
    assert fault_in({"target_height": 720}, folder()) == ""
    assert "exclude each other" in fault_in({"target_height": 720}, folder(scale=2))


def test_the_fault_of_the_sidecar_beside_a_file_comes_with_its_name(tmp_path: Path) -> None:
    source, sidecar = tmp_path / "a.mkv", tmp_path / "a.mkv.yml"
    assert fault_beside(source, folder()) == ""
    sidecar.write_text("scale: 4")
    assert fault_beside(source, folder()) == ""
    sidecar.write_text("scal: 4")
    assert fault_beside(source, folder()) == "a.mkv.yml: scal: unknown key; did you mean scale?"
    sidecar.write_text("- 4")
    assert fault_beside(source, folder()).startswith("a.mkv.yml: expected options")


def test_the_fault_of_a_prompt_beside_an_image_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").touch()
    assert fault_beside(tmp_path / "cat.jpg", folder("paint")) == "cat.txt: empty; write the prompt in it"


# -- what it lacks ---------------------------------------------------------------------------------------------------


def test_a_prompt_is_lacking_where_neither_the_sidecar_nor_the_folder_has_it() -> None:
    assert lack_of({}, folder("paint")) == lack_of({"prompt": " \n"}, folder("paint")) == "prompt"
    assert lack_of({"prompt": "a"}, folder("paint")) == lack_of({}, folder("paint", prompt="a")) == ""
    assert lack_of({"prompt": None}, folder("paint", prompt="a")) == "prompt"


def test_nothing_is_lacking_where_no_prompt_is_needed_or_what_is_there_is_faulty() -> None:
    assert lack_of({}, folder()) == lack_of({"strokes": 0}, folder("paint")) == ""


def test_what_is_waited_for_is_said_by_its_name() -> None:
    assert why_waiting("prompt", b"d/cat.jpg", None) == "waiting for cat.txt or cat.yaml"
    assert why_waiting("prompt", b"d/ca\nt.jpg", b"d/ca\nt.yaml") == "waiting for `prompt` in ca\\nt.yaml"
