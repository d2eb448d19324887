"""Which names in an inbox are left alone, and by which rule."""

import os
import re
from collections.abc import Sequence
from fnmatch import translate

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.sidecar import may_be_sidecar, owner_of

# Names that programs give to files which are not, or not yet, what they will be called (lower case). Hidden names are
# left alone anyway: rsync, NFS, macOS, Syncthing's folders and our own markers and drafts.
TEMPORARY_ENDINGS = (
    *(".part", ".partial", ".partial~", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".opdownload"),
    *(".!qb", ".!ut", ".!sync", ".aria2", ".backup~", ".draft"),
)
TEMPORARY_STARTS = ("~$", "~syncthing~")
TEMPORARY_INSIDE = (".sync-conflict-", ".draft.")
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "@recycle", "$recycle.bin", "lost+found", "system volume information"}
)
WORKING_FOLDERS = ("_unpack_", "_failed_")  # usenet clients: what lies in them is still in progress, or broken


class Rules:
    """Says of each name below an inbox why it is left alone.

    Patterns are those of the shell, without regard to case; each is tried on the name and on the path below the inbox,
    where `*` also stands for `/`. A folder that is left alone is not looked into.
    """

    def __init__(self, folder: Folder, watch: Watch) -> None:
        self._ignore = _Patterns([*watch.ignore, *folder.ignore])
        self._include = _Patterns(folder.include)
        self.kind = pipelines.KINDS[folder.pipeline]

    def file(self, path: bytes) -> str:
        """Return why the file `path` is left alone, '' if it is to be taken."""
        text, name = _names(path)
        return _file_by_name(name) or self._by_pattern(text, name) or self._not_wanted(text, name)

    def sidecar(self, path: bytes) -> bool:
        """Tell whether the file `path` may be a sidecar: of a file that would be taken or, with prompts, of a stem."""
        owner = owner_of(path)
        if owner is not None and not self.file(owner):
            return True
        text, name = _names(path)
        return may_be_sidecar(path, self.kind) and not (_file_by_name(name) or self._by_pattern(text, name))

    def folder(self, path: bytes) -> str:
        """Return why nothing below the folder `path` is taken, '' if it is to be looked into."""
        text, name = _names(path)
        if name.startswith("."):
            return "ignored: hidden"
        if name in SYSTEM_FOLDERS or name.startswith(WORKING_FOLDERS):
            return "ignored: folder of another program"
        return self._by_pattern(text, name)

    def _by_pattern(self, text: str, name: str) -> str:
        pattern = self._ignore.first(text, name)
        return f"ignored: pattern {pattern}" if pattern else ""

    def _not_wanted(self, text: str, name: str) -> str:
        if self._include:
            return "" if self._include.first(text, name) else "ignored: not in include"
        suffix = _suffix(name)
        if suffix in self.kind.suffixes:
            return ""
        return f"ignored: {suffix or 'a name without a suffix'} is no source of {self.kind.name}"


class _Patterns:
    """Shell patterns as one regular expression, for most names match none."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._each = [(pattern, re.compile(translate(pattern.lower().rstrip("/")))) for pattern in patterns]
        self._any = re.compile("|".join(compiled.pattern for _, compiled in self._each)) if patterns else None

    def __bool__(self) -> bool:
        return self._any is not None

    def first(self, text: str, name: str) -> str:
        """Return the first pattern that matches the path or the name (both lower case), or ''."""
        if self._any is None or not (self._any.match(name) or self._any.match(text)):
            return ""
        return next(pattern for pattern, one in self._each if one.match(name) or one.match(text))


def _names(path: bytes) -> tuple[str, str]:
    text = os.fsdecode(path).lower()
    return text, text.rpartition("/")[2]


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix if stem else ""


def _file_by_name(name: str) -> str:
    if name.startswith("."):
        return "ignored: hidden"
    if name in SYSTEM_FILES:
        return "ignored: file of the operating system"
    if name.endswith(TEMPORARY_ENDINGS):
        return f"ignored: temporary name *{next(end for end in TEMPORARY_ENDINGS if name.endswith(end))}"
    if name.startswith(TEMPORARY_STARTS):
        return f"ignored: temporary name {next(start for start in TEMPORARY_STARTS if name.startswith(start))}*"
    inside = next((part for part in TEMPORARY_INSIDE if part in name), "")
    return f"ignored: temporary name *{inside}*" if inside else ""
