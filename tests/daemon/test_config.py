import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from darkroom import pipelines
from darkroom.daemon.config import Config, ConfigError, Folder, Limit, Worker, load, options_for
from darkroom.daemon.plain_yaml import read_yaml

REFERENCE = Path(__file__).parents[2] / "config.yaml"
FOLDER = "folders: [{name: films, pipeline: upscale, inbox: in, outbox: out}]\n"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lines_for(tmp_path: Path, text: str | bytes) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(line.startswith(f"{path}: ") and "\n" not in line and "\x1b" not in line for line in caught.value.lines)
    return [line.removeprefix(f"{path}: ") for line in caught.value.lines]


def test_relative_paths_start_at_the_files_own_folder(tmp_path: Path) -> None:
    config = load(write(tmp_path, FOLDER))
    folder = config.folder("films")
    assert (config.state, folder.inbox, folder.outbox) == (tmp_path / "state", tmp_path / "in", tmp_path / "out")
    assert folder.originals_folder == tmp_path / "originals/films"
    assert folder.report_folder == tmp_path / "state/reports/films"


def test_an_unknown_folder_is_a_key_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        load(write(tmp_path, FOLDER)).folder("film")


def test_all_faults_are_told_at_once_with_their_paths_and_the_nearest_keys(tmp_path: Path) -> None:
    text = """
        folders:
        - {name: a b, pipeline: upscal, inbx: i, outbox: o}
        - {name: two, pipeline: upscale, inbox: i, outbox: o, name_template: '{stm}', options: {scle: 4, crf: 99}}
        - {name: two, pipeline: upscale, inbox: i, outbox: o, schedule: [25:00-26:00], priority: high}
        worker: {devices: [], treads: 3, step_limit: soon}
        retention: {work: {agee: 3}, at: 25:00}
        umask: 999
        stat: x
    """
    assert lines_for(tmp_path, text) == [
        "umask: Input should be a valid string, got 999",
        "folders.0.name: String should match pattern '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$', got 'a b'",
        "folders.0.pipeline: expected one of upscale, ocr, animate, got 'upscal'",
        "folders.0.inbox: Field required",
        "folders.0.inbx: unknown key; did you mean inbox?",
        "folders.1.name_template: unknown field {stm} in '{stm}'; known are {stem} {folder} {job} {date} {model}"
        " {scale} {width} {height}, without any format, got '{stm}'",
        "folders.2.priority: Input should be a valid integer, unable to parse string as an integer, got 'high'",
        "folders.2.schedule.0: expected days mon,tue,wed,thu,fri,sat,sun and times from 00:00 to 24:00,"
        " got '25:00-26:00'",
        "worker.devices: List should have at least 1 item after validation, not 0, got []",
        "worker.step_limit: expected a number with a unit (s, min, h, d, w), such as 90 s, got 'soon'",
        "worker.treads: unknown key; did you mean threads?",
        "retention.at: String should match pattern '^([01]\\d|2[0-3]):[0-5]\\d$', got '25:00'",
        "retention.work.agee: unknown key; did you mean age?",
        "stat: unknown key; did you mean state?",
        "folders.1.options.crf: expected 0 to 51, got 99",
        "folders.1.options.scle: unknown key; did you mean scale?",
        "folders: the name 'two' is used 2 times; give each folder its own",
    ]


def test_options_that_exclude_each_other_are_told_without_printing_them_all(tmp_path: Path) -> None:
    text = FOLDER.replace("}]", ", options: {scale: 2, target_height: 720}}]")
    fault = "folders.0.options: scale and target_height exclude each other: set one of them"
    assert lines_for(tmp_path, text) == [fault]


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"[1, 2]",
        b"just words",
        b"\0",
        b"\xff\xfe\x00",
        b"\x89PNG\r\n\x1a\n",
        b"[" * 5000,
        b"a: !!python/object/apply:os.system ['true']",
        b"when: 2024-99-99",
        b"n: " + b"9" * 5000,
        b"? [a, b]\n: c",
        b"{1: 2, null: 3}",
        b"folders:",
        b"folders: [null, 3, x, []]",
        b"a: &a [*a]\nfolders: *a",
        b'folders: [{name: "a\\e[31m", pipeline: [], inbox: "a\\0b", outbox: "", options: [1]}]',
        b'"\\e[2J": 1\nfolders: {}',
        b"folders: [{name: a, pipeline: upscale, inbox: ~no-such-user/x, outbox: 3}]",
        FOLDER.encode() + b"disk: {work_reserve: " + b"9" * 400 + b"GiB}",
        FOLDER.encode() + b"watch: [1]\nworker: 3\nlog: yes",
        FOLDER.encode() + FOLDER.encode(),
    ],
)
def test_rubbish_is_a_fault_in_single_lines_and_never_a_crash(tmp_path: Path, rubbish: bytes) -> None:
    assert lines_for(tmp_path, rubbish)


def test_a_large_wrong_value_is_shown_in_short(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nlog: [*c, *c, *c, " + "y" * 10_000 + "]\n"
    assert all(len(line) < 300 for line in lines_for(tmp_path, FOLDER + bomb))


def test_a_section_whose_keys_are_all_commented_out_is_its_default(tmp_path: Path) -> None:
    config = load(write(tmp_path, FOLDER.replace("}]", ", options: }]") + "watch:\nretention:\n  work:\n"))
    assert config.watch == Config.model_fields["watch"].default
    assert config.retention.work == Limit(age=7 * 86400)
    assert config.folders[0].options == {}


def test_octal_numbers_and_times_of_day_mean_what_they_show(tmp_path: Path) -> None:
    config = load(write(tmp_path, FOLDER + "umask: 0022\nretention: {at: 13:30}\n"))
    assert (config.umask, config.retention.at) == ("0022", "13:30")


@pytest.mark.parametrize(
    ("folders", "fault"),
    [
        ("{inbox: x, outbox: x}", "folders.0.inbox: {root}/x and folders.0.outbox ({root}/x) lie inside each other"),
        ("{inbox: x, outbox: x/done}", "folders.0.inbox"),
        ("{inbox: out/x, outbox: out}", "folders.0.inbox"),
        ("{inbox: state/in, outbox: o}", "folders.0.inbox: {root}/state/in and state"),
        ("{inbox: i, outbox: state/o}", "folders.0.outbox: {root}/state/o and state"),
        ("{inbox: ., outbox: /tmp/elsewhere}", "folders.0.inbox: {root} and state"),
        ("{inbox: link, outbox: target}", "folders.0.inbox: {root}/target and folders.0.outbox"),
        ("{inbox: i, outbox: o, originals: move, originals_folder: i/done}", "folders.0.inbox"),
        ("{inbox: i, outbox: o, report_folder: i/reports}", "folders.0.inbox"),
        ("{inbox: i, outbox: o}, {name: b, pipeline: upscale, inbox: o/b, outbox: p}", "folders.1.inbox"),
        ("{inbox: i, outbox: o}, {name: b, pipeline: upscale, inbox: i/b, outbox: p}", "folders.0.inbox"),
    ],
)
def test_folders_inside_each_other_are_refused(tmp_path: Path, folders: str, fault: str) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    first = folders.replace("{", "{name: a, pipeline: upscale, ", 1)
    assert fault.format(root=tmp_path) in lines_for(tmp_path, f"folders: [{first}]")[0]


def test_two_folders_may_share_an_outbox_and_originals_that_stay_need_no_room(tmp_path: Path) -> None:
    text = """folders:
    - {name: a, pipeline: upscale, inbox: originals/in, outbox: out}
    - {name: b, pipeline: upscale, inbox: i, outbox: out, originals_folder: i/x}"""
    assert len(load(write(tmp_path, text)).folders) == 2


def test_a_loop_of_links_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to("in")
    load(write(tmp_path, FOLDER))


def test_overrides_go_before_the_folders_options() -> None:
    settings = {"name": "a", "pipeline": "upscale", "inbox": "i", "outbox": "o", "options": {"scale": 4, "crf": 20}}
    options = options_for(Folder.model_validate(settings), {"scale": 2}).model_dump()
    assert (options["scale"], options["crf"]) == (2, 20)


def test_overrides_of_nested_options_leave_their_neighbours_alone() -> None:
    chosen = {"flashvsr": {"seed": 3, "preset": "fast"}, "memory": {"limit": "8 GiB"}}
    settings = {"name": "a", "pipeline": "upscale", "inbox": "i", "outbox": "o", "options": chosen}
    options = options_for(Folder.model_validate(settings), {"flashvsr": {"seed": 4}, "memory": None}).model_dump()
    assert (options["flashvsr"]["seed"], options["flashvsr"]["preset"]) == (4, "fast")
    assert options["memory"]["limit"] is None


def test_a_worker_gets_memory_enough_to_start_in(tmp_path: Path) -> None:
    assert Worker.model_validate({"memory": "3 GB"}).memory == 3 * 10**9
    assert Worker.model_validate({"memory": None}).memory is None
    with pytest.raises(ValidationError, match="expected 64 MiB or more, got 3 B"):
        Worker.model_validate({"memory": 3})


# -- config.yaml, the reference: held to the models -------------------------------------------------------------------


def test_the_reference_is_a_configuration_that_changes_no_default() -> None:
    config = load(REFERENCE)
    chosen = {"state", "models", "folders", "name", "pipeline", "inbox", "outbox", "options"}
    chosen |= {"originals_folder", "report_folder"}
    for model in (config, *config.folders):
        for name in type(model).model_fields.keys() - chosen:
            assert getattr(model, name) == type(model).model_fields[name].default, name
    assert [folder.pipeline for folder in config.folders] == list(pipelines.KINDS)
    for folder in config.folders:
        assert options_for(folder, {}) == pipelines.options_of(folder.pipeline)()


def entries() -> Iterator[tuple[str, type[BaseModel], str, int]]:
    """Each key that config.yaml should explain: its path, model, name and the column it stands in."""
    for name in Config.model_fields:
        yield name, Config, name, 0
        inner = Config.model_fields[name].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from ((f"{name}.{key}", inner, key, 2) for key in inner.model_fields)
    yield from ((f"folders.{key}", Folder, key, 4) for key in Folder.model_fields)
    for kind in pipelines.KINDS:
        options = pipelines.options_of(kind)
        for name in options.model_fields:
            yield f"{kind}.{name}", options, name, 6
            inner = options.model_fields[name].annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from ((f"{kind}.{name}.{key}", inner, key, 8) for key in inner.model_fields)


def explained(path: str, name: str, column: int) -> tuple[str, str, bool]:
    """Return the comment above a key of config.yaml, the value beside it, and whether it is set."""
    lines = REFERENCE.read_text().splitlines()
    top, start = path.split(".")[0], 0
    if top in pipelines.KINDS:
        start = lines.index("    options:", lines.index(f"  - name: {top}"))
        if path.count(".") == 2:
            start = lines.index(f"      {path.split('.')[1]}:", start)
    elif "." in path:
        start = lines.index(f"{top}:")
    key = re.compile(rf" {{{column}}}(# )?{name}:( (?P<value>.*))?$")
    for number in range(start + (column > 0), len(lines)):
        if found := key.match(lines[number].replace("  - ", "    ", 1)):
            above = number
            while lines[above - 1].strip().startswith("#"):
                above -= 1
            comment = "\n".join(line.strip().lstrip("#").strip() for line in lines[above:number])
            return comment, found["value"] or "", not found[1]
    raise AssertionError(f"{path}: is not in config.yaml")


def with_key(path: str, value: Any) -> tuple[str, str]:
    """Return a configuration in which the key `path` of `entries` is `value`, and how a fault names that key."""
    folder: dict[str, Any] = {"name": "a", "pipeline": "upscale", "inbox": "i", "outbox": "o"}
    whole: dict[str, Any] = {"folders": [folder]}
    first, *inner = path.split(".")
    where, above, keys = whole, [], [first, *inner]
    if first in pipelines.KINDS:
        folder["pipeline"] = first
        where, above, keys = folder, ["folders", "0"], ["options", *inner]
    elif first == "folders" and inner:
        where, above, keys = folder, ["folders", "0"], inner
    for key in keys[:-1]:
        where = where.setdefault(key, {})
    where[keys[-1]] = value
    return yaml.safe_dump(whole), ".".join([*above, *keys])


PATHS = [entry[0] for entry in entries()]


@pytest.mark.parametrize("path", PATHS)
def test_a_fault_in_any_key_is_told_with_its_path(tmp_path: Path, path: str) -> None:
    text, named = with_key(path, ["no", {"such": "value"}])
    lines = lines_for(tmp_path, text)
    assert any(line.startswith((f"{named}: ", f"{named}.")) for line in lines), lines


@pytest.mark.parametrize("section", sorted({path.rpartition(".")[0] for path in PATHS}))
def test_an_unknown_key_is_a_fault_wherever_it_stands(tmp_path: Path, section: str) -> None:
    text, named = with_key(f"{section}.colour".lstrip("."), "grey")
    assert f"{named}: unknown key" in "\n".join(lines_for(tmp_path, text))


@pytest.mark.parametrize(("path", "model", "name", "column"), list(entries()), ids=PATHS)
def test_each_key_is_explained_with_its_meaning_range_and_default(
    path: str, model: type[BaseModel], name: str, column: int
) -> None:
    comment, value, is_set = explained(path, name, column)
    field = model.model_fields[name]
    assert field.description, f"{path}: has no description in its model"
    assert field.description in comment.split("\n"), f"{path}: its comment is not `{field.description}`"
    schema = TypeAdapter(model).json_schema()["properties"][name]
    for bound in bounds(schema):
        assert re.search(rf"(?<![\d.]){re.escape(bound)}(?!\d|\.\d)", comment), f"{path}: its comment lacks {bound}"
    if told := re.search(r"Default: (.*)", comment):
        assert read_as(model, name, told[1]) == field.default, f"{path}: its comment tells another default"
    else:
        assert field.default is None or field.is_required() or not value or path in ("state", "models")
    if value:
        read_as(model, name, value)  # an example must be a good one
        assert is_set or field.default is None, f"{path}: is off, though there is a default to show"


def read_as(model: type[BaseModel], name: str, text: str) -> Any:
    """Return what `name: text` sets in `model`. Raises ValidationError."""
    folder = {"name": "a", "pipeline": "upscale", "inbox": "i", "outbox": "o"}
    needed: dict[Any, dict[str, Any]] = {Folder: folder, Config: {"folders": [folder]}}
    return getattr(model.model_validate(needed.get(model, {}) | {name: read_yaml(text)}), name)


def bounds(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the bounds and choices of a field, as config.yaml should spell them."""
    for part in (schema, *schema.get("anyOf", ())):
        yield from (f"{part[key]:.12g}" for key in ("minimum", "maximum", "exclusiveMinimum") if key in part)
        yield from (str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in part.get("enum", ()))
