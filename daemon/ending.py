"""What every command shares: the configuration it works with, how it speaks and how it ends."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from darkroom.daemon.config import Config, ConfigError, Folder, load
from darkroom.daemon.disk import GONE
from darkroom.daemon.job import printable
from darkroom.daemon.states import IllegalMove
from darkroom.pipelines.errors import Rejected, Unavailable

OK, UNEXPECTED, USAGE, FAULTY, UNKNOWN, UNAVAILABLE, LEFT, CONFIG = 0, 1, 2, 3, 4, 69, 75, 78
EXIT_CODES = {
    OK: "all is well",
    UNEXPECTED: "something unexpected: a bug",
    USAGE: "the command cannot be carried out as it is written, or not on this job or file",
    FAULTY: "run --drain: a job ended failed or quarantined",
    UNKNOWN: "there is no such job or folder",
    UNAVAILABLE: "the journal, the state folder or a folder cannot be used",
    LEFT: "run --drain: something is left that cannot run now: folder offline, disk full, hold, a schedule, no prompt",
    CONFIG: "the configuration cannot be used",
}
EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."
PLACES = ("./config.yaml", "~/.config/darkroom/config.yaml", "/etc/darkroom/config.yaml")

AsJson = Annotated[bool, typer.Option("--json", help="for programs: one JSON document")]


class Unknown(LookupError):
    """There is no such job or folder."""


class Commands(TyperGroup):
    """All commands: what they raise for a person becomes one line each, and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            leave(CONFIG, *error.lines)
        except Unknown as error:
            leave(UNKNOWN, str(error))
        except (Rejected, IllegalMove) as error:
            leave(USAGE, str(error))
        except Unavailable as error:
            leave(UNAVAILABLE, str(error))
        except BrokenPipeError:
            raise  # `darkroom jobs | head` is no fault: typer ends quietly
        except OSError as error:
            leave(UNAVAILABLE, f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else str(error))


def leave(code: int, *lines: str) -> NoReturn:
    """End the command with an exit code, saying why on standard error."""
    for line in lines:
        print(printable(line.encode(errors="surrogateescape")), file=sys.stderr)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is said before the command: which configuration."""

    config: Path | None

    @property
    def path(self) -> Path:
        """Where the configuration lies. Raises ConfigError if there is none."""
        if self.config is not None:
            return self.config
        places = [Path(place).expanduser() for place in PLACES]
        if found := next((place for place in places if place.exists()), None):
            return found
        raise ConfigError([f"no configuration in {', '.join(PLACES)}; `darkroom init FOLDER` makes one to start from"])

    def load(self) -> Config:
        """Return the configuration, and let its umask be that of all we write. Raises ConfigError, OSError."""
        try:
            config = load(self.path)
        except OSError as error:
            if error.errno in GONE:
                raise  # not the configuration's fault: the service is to be started again
            denied = isinstance(error, PermissionError)
            remedy = "let this user read it" if denied else "`darkroom init FOLDER` makes one"
            raise ConfigError([f"{self.path}: {error.strerror}; {remedy}"]) from error
        os.umask(int(config.umask, 8))
        return config


def folder_of(config: Config, name: str) -> Folder:
    """Return the folder called `name`. Raises Unknown."""
    try:
        return config.folder(name)
    except KeyError:
        known = ", ".join(folder.name for folder in config.folders)
        raise Unknown(f"there is no folder {name!r} in the configuration; there are {known}") from None


def console() -> Console:
    """Return where tables go: as wide as the terminal; into a file or a pipe so wide that no name is broken."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=1000)


def say(line: str) -> None:
    """Print one line for people, control characters as escapes."""
    print(printable(line.encode(errors="surrogateescape")))


def print_json(values: object) -> None:
    """Print one document for programs; ASCII only, so that no name disturbs a terminal."""
    print(json.dumps(values, indent=2, default=str))
