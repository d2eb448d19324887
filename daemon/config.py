"""config.yaml as frozen models: every key, its default and its meaning; all faults are reported at once."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from darkroom import pipelines
from darkroom.daemon.faults import faults
from darkroom.daemon.filesystem import MOUNTINFO, parse_mounts, without_links
from darkroom.daemon.names import check_template
from darkroom.daemon.plain_yaml import read_yaml
from darkroom.daemon.schedule import Window, parse_window
from darkroom.daemon.units import Bytes, Seconds, show_bytes, size_bytes

LEAST_MEMORY = 64 * 2**20  # of a worker: Python and the journal, and no model yet


def _usable_path(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("expected the path of a folder")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: there is no such user's home; write the path in full") from None


def _known_pipeline(name: str) -> str:
    if name not in pipelines.KINDS:
        raise ValueError(f"expected one of {', '.join(pipelines.KINDS)}, got {name!r}")
    return name


def _enough_memory(wanted: int) -> int:
    if wanted < LEAST_MEMORY:
        raise ValueError(f"expected {show_bytes(LEAST_MEMORY)} or more, got {show_bytes(wanted)}")
    return wanted


FolderPath = Annotated[Path, BeforeValidator(lambda raw: raw or None), AfterValidator(_usable_path)]
PipelineName = Annotated[str, AfterValidator(_known_pipeline)]
Template = Annotated[str, AfterValidator(check_template)]
WindowText = Annotated[str, AfterValidator(lambda text: parse_window(text) and text)]
Memory = Annotated[int, BeforeValidator(size_bytes), AfterValidator(_enough_memory)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|(cuda|npu)(:\d{1,2})?)$")]


class ConfigError(ValueError):
    """The configuration cannot be used; `lines` say why, one fault each: `file: key: expected, got`."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Section(BaseModel):
    """A part of the configuration: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, raw: Any) -> Any:
        """Read `watch:` with nothing below it, all its keys commented out, as `watch` with its defaults."""
        if not isinstance(raw, dict):
            return raw
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {key: value for key, value in raw.items() if value is not None or key not in optional}


class Folder(Section):
    """One inbox, what happens to its files, and where the results go."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """short name for commands and the log; another name is another folder, which takes its files anew"""
    pipeline: PipelineName
    """what is done with a file: upscale, ocr or animate"""
    inbox: FolderPath
    """folder to watch, with everything below it"""
    outbox: FolderPath
    """folder to publish to; its media server sees complete files only"""
    options: dict[str, Any] = {}
    """options of the pipeline; a sidecar FILE.yaml overrides them for one file"""
    priority: int = Field(0, ge=-1000, le=1000)
    """higher goes first; every eighth job is the oldest one whatever its priority"""
    schedule: list[WindowText] = []
    """when its jobs may run: "22:00-07:00", "sat,sun 00:00-24:00"; empty: always"""
    originals: Literal["keep", "move", "delete"] = "keep"
    """what happens to the source once its result is published and verified"""
    originals_folder: FolderPath | None = None
    """where `move` puts the sources (originals/NAME beside the outbox)"""
    name_template: Template = "{stem}"
    """name of the result without suffix: {stem} {folder} {job} {date} {model} {width} {height} {scale}"""
    conflict: Literal["number", "replace", "skip"] = "number"
    """when the name is taken: "name (2)", replace the old one, or skip the file"""
    keep_tree: bool = True
    """publish inbox/a/b.mkv as outbox/a/b.mkv rather than outbox/b.mkv"""
    report: Literal["beside", "folder", "none"] = "folder"
    """write NAME.json with source, settings, digests, timings: beside the result, in report_folder, or not"""
    report_folder: FolderPath | None = None
    """where `report: folder` puts the reports (STATE/reports/NAME)"""
    duplicates: Literal["skip", "process"] = "skip"
    """a file whose content was done before under another name"""
    include: list[str] = []
    """patterns of files to take; empty: the suffixes the pipeline knows"""
    ignore: list[str] = []
    """more patterns to leave alone, as in watch.ignore"""
    watch: Literal["auto", "events", "poll"] = "auto"
    """events and a slow scan, or a fast scan only; auto: by the file system"""
    settle: Seconds | None = None
    """how long a file must be still before it is taken (watch.settle_local or settle_network)"""
    symlinks: bool = False
    """take files behind symbolic links that stay inside the inbox"""
    stage: Literal["auto", "always", "never"] = "auto"
    """copy the source to the work folder before heavy work; auto: from network file systems"""


class Watch(Section):
    """How inboxes are watched and when a file counts as complete."""

    scan_local: Seconds = Field(60, ge=1)
    """time between two scans of an inbox on a local disk (events come in between)"""
    scan_network: Seconds = Field(15, ge=1)
    """time between two scans of an inbox on a network or FUSE file system"""
    settle_local: Seconds = Field(2, ge=0.1)
    """a file must be still for so long, on a local disk"""
    settle_network: Seconds = Field(10, ge=0.1)
    """and on a network file system"""
    lease_wait: Seconds = Field(60, ge=0)
    """wait at most so long for a still file that another program holds open for writing"""
    max_depth: int = Field(16, ge=1, le=64)
    """folders below an inbox that are looked into"""
    ignore: list[str] = []
    """patterns of names left alone, on top of hidden files and the temporary names of copy programs"""


class Worker(Section):
    """The child process that owns the device."""

    devices: list[Device] = Field(["auto"], min_length=1)
    """one worker each: auto, cpu, cuda, cuda:0, npu:0 (animate only), ...; auto takes the first GPU, or the CPU"""
    keep_warm: Seconds = 600
    """an idle worker keeps its model loaded for so long, then ends and frees the device"""
    preload: bool = False
    """load the models of all folders as the daemon starts; idle workers then stay, whatever keep_warm says"""
    threads: int | None = Field(None, ge=1, le=256)
    """CPU threads of the model; null: one for each core"""
    step_limit: Seconds = Field(900, ge=5)
    """a worker that shows no progress for so long is killed and its job resumed"""
    memory: Memory | None = None
    """a worker that takes more is ended and its job resumed; null: nine tenths of what the machine, or cgroup, has"""
    attempts: int = Field(3, ge=1, le=100)
    """tries of a job whose failure may pass (disk, device), with retry_delays between them"""
    retry_delays: list[Seconds] = Field([60, 300, 1800], min_length=1)
    """time before the second, third, ... try; the last is repeated"""
    drain: Seconds = Field(120, ge=0)
    """on a stop, time for the running segment to finish before the worker is killed"""


class Disk(Section):
    """Free space that is left alone; jobs wait while there is less."""

    work_reserve: Bytes = 2 * 2**30
    """on the volume of the state folder, on top of what the job itself needs"""
    outbox_reserve: Bytes = 2**30
    """on the outbox's volume, on top of the result's size"""


class Limit(Section):
    """How much of one kind of file is kept."""

    age: Seconds | None = None
    """older files go"""
    size: Bytes | None = None
    """beyond this total size the oldest files go"""


class Retention(Section):
    """What is cleared up, once a day. Sources and unpublished results never are."""

    at: str = Field("03:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """time of day, local"""
    work: Limit = Limit(age=7 * 86400)
    """work folders of jobs that ended failed, quarantined or cancelled"""
    jobs: Limit = Limit(age=365 * 86400)
    """rows of ended jobs whose source is gone"""
    originals: Limit = Limit()
    """sources moved by `originals: move`"""
    reports: Limit = Limit(age=365 * 86400)
    """report files"""
    results: Limit = Limit()
    """published results; never by default"""
    max_fraction: float = Field(0.25, gt=0, le=1)
    """a run that would delete more than this share of a folder's files deletes nothing there by age"""


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """the least important lines that are written"""
    format: Literal["auto", "text", "journal", "json"] = "auto"
    """text; journal: with priority prefixes; json: one object a line; auto: journal under systemd, else text"""


class Config(Section):
    """The whole configuration. Relative paths start at the file's own folder."""

    state: FolderPath = Path("state")
    """journal, work folders, reports: on a local disk"""
    models: FolderPath = Path("models")
    """weights of the models that are not built in; `darkroom models` lists what goes there"""
    umask: str = Field("0002", pattern=r"^0?[0-7]{3}$")
    """of everything written, in octal: 0002 lets the group of the share write"""
    folders: list[Folder] = Field(min_length=1)
    """the inboxes"""
    watch: Watch = Watch()
    """how inboxes are watched and when a file counts as complete"""
    worker: Worker = Worker()
    """the processes that do the work, one for each device"""
    disk: Disk = Disk()
    """free space that is left alone; jobs wait while there is less"""
    retention: Retention = Retention()
    """what is cleared up, once a day; sources and unpublished results never are"""
    backups: int = Field(7, ge=0, le=365)
    """daily copies of the journal that are kept in STATE/backups"""
    log: Log = Log()
    """what is written to standard error"""

    def folder(self, name: str) -> Folder:
        """Return the folder called `name`. Raises KeyError."""
        return {folder.name: folder for folder in self.folders}[name]

    def windows(self, folder: Folder) -> tuple[Window, ...]:
        """Return the schedule of `folder`, parsed."""
        return tuple(parse_window(text) for text in folder.schedule)


def load(path: Path) -> Config:
    """Read and check the configuration at `path`, with absolute paths in it.

    Raises ConfigError with one line for every fault, OSError if the file cannot be read.
    """
    try:
        raw = read_yaml(path.read_bytes())
    except ValueError as error:
        raise ConfigError([f"{path}: {error}"]) from error
    if not isinstance(raw, dict):
        got = "nothing" if raw is None else type(raw).__name__
        raise ConfigError([f"{path}: expected keys such as `folders:`, got {got}"])
    lines = [*_option_faults(raw), *_repeated_names(raw)]
    try:
        config = _resolved(Config.model_validate(raw), Path(os.path.realpath(path)).parent)
    except ValidationError as error:
        lines = [*faults(error, Config), *lines]
    else:
        lines += _overlaps(config)
    if lines:
        raise ConfigError([f"{path}: {line}" for line in lines])
    return config


def options_for(folder: Folder, overrides: Mapping[str, Any]) -> BaseModel:
    """Return the pipeline's options: the folder's, with `overrides` on top, key by key within nested ones too.

    Raises ValidationError.
    """
    return pipelines.options_of(folder.pipeline).model_validate(_merged(folder.options, overrides))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **nested}


def _raw_folders(raw: Mapping[Any, Any]) -> Iterator[tuple[int, dict[Any, Any]]]:
    """Yield what can be looked into of `folders`, for faults that the schema does not know, beside those it does."""
    folders = raw.get("folders")
    for index, folder in enumerate(folders if isinstance(folders, list) else []):
        if isinstance(folder, dict):
            yield index, folder


def _option_faults(raw: Mapping[Any, Any]) -> Iterator[str]:
    for index, folder in _raw_folders(raw):
        name, options = folder.get("pipeline"), folder.get("options") or {}
        if not isinstance(name, str) or name not in pipelines.KINDS or not isinstance(options, dict):
            continue  # a fault of the schema
        try:
            pipelines.options_of(name).model_validate(options)
        except ValidationError as error:
            yield from faults(error, pipelines.options_of(name), f"folders.{index}.options")


def _repeated_names(raw: Mapping[Any, Any]) -> Iterator[str]:
    names = Counter(folder["name"] for _, folder in _raw_folders(raw) if isinstance(folder.get("name"), str))
    for name, count in names.items():
        if count > 1:
            yield f"folders: the name {name!r} is used {count} times; give each folder its own"


def _resolved(config: Config, base: Path) -> Config:
    mounts = parse_mounts(MOUNTINFO.read_bytes())

    def absolute(path: Path) -> Path:
        return without_links(base / path, mounts)

    state, models = absolute(config.state), absolute(config.models)
    folders = []
    for folder in config.folders:
        outbox = absolute(folder.outbox)
        originals = folder.originals_folder or outbox.parent / "originals" / folder.name
        reports = folder.report_folder or state / "reports" / folder.name
        paths = {"inbox": folder.inbox, "outbox": outbox, "originals_folder": originals, "report_folder": reports}
        folders.append(folder.model_copy(update={key: absolute(path) for key, path in paths.items()}))
    return config.model_copy(update={"state": state, "models": models, "folders": folders})


def _overlaps(config: Config) -> Iterator[str]:
    """Refuse folders that lie inside each other: a result would be taken for a source, or cleared up as one."""
    kept = {"state": config.state, "models": config.models, "the program itself": Path(__file__).resolve().parent}
    for index, folder in enumerate(config.folders):
        others = dict(kept)
        for number, other in enumerate(config.folders):
            others[f"folders.{number}.outbox"] = other.outbox
            if other.originals == "move" and other.originals_folder is not None:
                others[f"folders.{number}.originals_folder"] = other.originals_folder
            if other.report_folder is not None and not _nested(other.report_folder, config.state):
                others[f"folders.{number}.report_folder"] = other.report_folder
            if number != index:
                others[f"folders.{number}.inbox"] = other.inbox
        for name, path in others.items():
            if _nested(folder.inbox, path):
                yield f"folders.{index}.inbox: {folder.inbox} and {name} ({path}) lie inside each other; part them"
        for name, path in kept.items():
            if _nested(folder.outbox, path):
                yield f"folders.{index}.outbox: {folder.outbox} and {name} ({path}) lie inside each other; part them"


def _nested(a: Path, b: Path) -> bool:
    return a == b or a in b.parents or b in a.parents
