"""Names of results: a template filled in, then cleaned until every file system and every player takes it."""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import PurePosixPath
from string import Formatter
from typing import Any

from darkroom.daemon.job import Job

FIELDS = ("stem", "folder", "job", "date", "model", "scale", "width", "height")
LIMIT_BYTES = 240  # of a result's name: room for `.json` and for what copy programs add, below the usual 255

# Separators and what Windows and SMB refuse; controls, line breaks and the marks that turn text around
# (a name that reads "gpj.exe" backwards); halves of surrogate pairs, which are no text at all.
FORBIDDEN = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
DOS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)


def check_template(text: str) -> str:
    """Return the template `text` if it can be filled in. Raises ValueError that names the known fields."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"expected text with {{fields}}, got {text!r}: {error}") from error
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or spec or conversion):
            known = " ".join(f"{{{name}}}" for name in FIELDS)
            raise ValueError(f"unknown field {{{field}}} in {text!r}; known are {known}, without any format")
    if not any(field for _, field, _, _ in parts):
        raise ValueError(f"{text!r} would name all results alike; use {{stem}} or {{job}} in it")
    if "/" in text:
        raise ValueError(f"{text!r} names a folder; give a name only, keep_tree makes the folders")
    return text


def result_name(
    template: str, source: bytes, suffix: str, fields: Mapping[str, object], *, keep_tree: bool = True
) -> bytes:
    """Return where the result of `source` goes below the outbox, cleaned, as UTF-8.

    source:  path below the inbox, or absolute for a file added by hand, which has no tree to keep
    suffix:  of the result, with its dot
    fields:  FIELDS but `stem`; one that the pipeline does not report comes out empty
    """
    path = PurePosixPath(printable_text(source))
    values = {**dict.fromkeys(FIELDS, ""), **fields, "stem": path.stem}
    tree = path.parent.parts if keep_tree and not path.is_absolute() else ()
    return "/".join([*map(clean, tree), clean(template.format_map(values), suffix)]).encode()


def fields_of(job: Job, made: Mapping[str, Any], today: date) -> dict[str, object]:
    """Return the fields of `job` for `result_name`; those of the pipeline come from its report `made`."""
    of_pipeline = {name: made[name] for name in FIELDS if isinstance(made.get(name), str | int | float)}
    return {**of_pipeline, "folder": job.folder, "job": job.id, "date": today.isoformat()}


def clean(text: str, suffix: str = "") -> str:
    """Return `text` + `suffix` as one name that is safe everywhere, at most LIMIT_BYTES long in UTF-8.

    A forbidden character becomes `_`; leading dots (hidden), trailing dots and spaces (lost on Windows)
    go; a name that DOS keeps for a device gets a `_` before it. `..` and other names of nothing become `untitled`.
    """
    name = FORBIDDEN.sub("_", text).lstrip(". ")
    name = _cut(name, LIMIT_BYTES - 1 - len(suffix.encode())).rstrip(". ") or "untitled"
    return f"_{name}{suffix}" if DOS_DEVICE.match(name) else f"{name}{suffix}"


def printable_text(path: bytes) -> str:
    """Return `path` as text in which each byte that is not UTF-8 is spelled `%FF`, so that no two get one name."""
    text = path.decode(errors="surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)


def numbered(name: bytes, number: int, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Return `name` as it is for 1, else with ` (number)` before its suffix, within `limit_bytes`."""
    if number == 1:
        return name
    path = PurePosixPath(name.decode(errors="surrogateescape"))
    stem, suffix = (path.stem, path.suffix) if len(path.suffix) <= 16 else (path.name, "")
    ending = f" ({number}){suffix}".encode(errors="surrogateescape")
    return _cut(stem, limit_bytes - len(ending)).encode(errors="surrogateescape") + ending


def _cut(text: str, room: int) -> str:
    """Shorten `text` to `room` bytes without cutting through a character."""
    raw = text.encode(errors="surrogateescape")
    if len(raw) <= room:
        return text
    while raw[room] & 0xC0 == 0x80 and room > 0:  # the middle of a character
        room -= 1
    return raw[:room].decode(errors="surrogateescape")
