import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

import pytest

from darkroom.daemon.config import Log
from darkroom.daemon.log import Formatter, Writer, set_up

EVIL = "\x1b[2Jred\x07.mkv"


def line(form: Literal["text", "journal", "json"], message: str, level: int = logging.INFO, **fields: Any) -> str:
    record = logging.LogRecord(
        "darkroom", level, __file__, 1, message, fields.pop("args", ()), fields.pop("error", None)
    )
    return Formatter(form).format(record)


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.DEBUG, "<7>"),
        (logging.INFO, "<6>"),
        (logging.WARNING, "<4>"),
        (logging.ERROR, "<3>"),
        (logging.CRITICAL, "<2>"),
        (25, "<5>"),
    ],
)
def test_journald_gets_its_priority(level: int, prefix: str) -> None:
    assert line("journal", "job=41 done", level) == f"{prefix}job=41 done"


def test_each_line_of_a_traceback_has_its_priority() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        text = line("journal", "it fell", logging.ERROR, error=sys.exc_info())
    lines = text.splitlines()
    assert len(lines) > 3 and all(entry.startswith("<3>") for entry in lines)
    assert lines[0] == "<3>it fell" and lines[-1] == "<3>ValueError: bad"


def test_text_names_the_time_and_what_is_not_information() -> None:
    assert line("text", "job=%d done", args=(41,))[8:] == " job=41 done"
    assert line("text", "no space", logging.WARNING)[8:] == " warning: no space"


@pytest.mark.parametrize("form", ["text", "journal", "json"])
def test_a_message_of_several_lines_forges_neither_a_line_nor_a_priority(
    form: Literal["text", "journal", "json"],
) -> None:
    first, *rest = line(form, "bad\n<0>12:00:00 job=1 all is lost\r\u2028<1>x", logging.ERROR).split("\n")
    assert "bad" in first
    assert [entry.startswith({"text": "    ", "journal": "<3>"}[form]) for entry in rest] == [True] * len(rest)
    assert len(rest) == (0 if form == "json" else 3)


def test_json_is_one_object_a_line() -> None:
    text = line("json", 'two\nlines of "Café"', logging.ERROR)
    assert "\n" not in text
    entry = json.loads(text)
    assert (entry["level"], entry["message"]) == ("error", 'two\nlines of "Café"')
    assert "T" in entry["time"]


@pytest.mark.parametrize("form", ["text", "journal", "json"])
def test_control_characters_of_a_name_never_come_out_raw(form: Literal["text", "journal", "json"]) -> None:
    text = line(form, "%s: no video stream", args=(EVIL,))
    shown = json.loads(text)["message"] if form == "json" else text
    assert r"\x1b[2Jred\x07.mkv: no video stream" in shown and "\x1b" not in text + shown


@pytest.mark.parametrize("odd", [os.fsdecode(b"\xff.mkv"), "\ud800 alone"])
def test_no_name_is_so_odd_that_its_line_is_lost(odd: str) -> None:
    assert r"\ud" in line("text", odd) and line("text", odd).encode()


# -- set up ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was after the test."""
    logger = logging.getLogger()
    before = (logger.handlers[:], logger.level, logging.raiseExceptions)
    yield logger
    logger.handlers[:], logger.level, logging.raiseExceptions = before


SPEAK = """
import logging, os, sys
from darkroom.daemon.config import Log
from darkroom.daemon.log import set_up
if sys.argv[2] == "mine":
    found = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
set_up(Log(format=sys.argv[1]))
logging.getLogger("darkroom").warning("no space")
"""


def spoken(form: str, stream: str) -> str:
    environ = os.environ | {"JOURNAL_STREAM": "1:2"}
    command = [sys.executable, "-c", SPEAK, form, stream]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize(
    ("form", "stream", "text"),
    [
        ("auto", "mine", "<4>no space\n"),
        ("auto", "another's", " warning: no space\n"),
        ("journal", "another's", "<4>no space\n"),
    ],
)
def test_auto_means_journal_only_where_standard_error_goes_there(form: str, stream: str, text: str) -> None:
    assert spoken(form, stream).endswith(text)


def test_levels_are_those_asked_for_and_the_scheduler_is_silent(root: logging.Logger) -> None:
    set_up(Log(level="error"), {})
    assert root.level == logging.ERROR and len(root.handlers) == 1
    set_up(Log(level="debug"), {})
    assert root.level == logging.DEBUG and len(root.handlers) == 1
    assert not logging.getLogger("apscheduler.executors").isEnabledFor(logging.INFO)


def test_a_closed_standard_error_stops_nothing(
    root: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = (tmp_path / "err").open("w")
    monkeypatch.setattr(sys, "stderr", stream)
    set_up(Log(), {})
    stream.close()
    logging.getLogger("darkroom").error("nobody hears this")
    set_up(Log(), {"JOURNAL_STREAM": "1:2"})


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """A pipe whose writing end is as standard error: text, a write for each line."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", buffering=1, errors="backslashreplace") as stream:
        yield reading, stream
    os.close(reading)


def fill(writing: int) -> None:
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, b"." * 65536):
            pass
    os.set_blocking(writing, True)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("darkroom", logging.INFO, __file__, 1, message, None, None)


def test_a_reader_that_has_stopped_costs_lines_and_is_told_how_many(pipe: tuple[int, IO[str]]) -> None:
    reading, stream = pipe
    writer = Writer(stream, stuck_s=0)
    writer.setFormatter(Formatter("journal"))
    writer.emit(record("heard"))
    assert os.read(reading, 65536) == b"<6>heard\n"
    fill(stream.fileno())
    for number in range(3):
        writer.emit(record(f"nobody reads {number}"))
    while os.read(reading, 65536).endswith(b"."):
        if not select.select([reading], [], [], 0)[0]:
            break
    writer.emit(record("heard again"))
    assert os.read(reading, 65536) == b"<4>3 lines were lost here\n<6>heard again\n"


def test_a_message_larger_than_the_room_is_cut_off_and_blocks_nothing(pipe: tuple[int, IO[str]]) -> None:
    reading, stream = pipe
    writer = Writer(stream, stuck_s=0)
    writer.emit(record("\N{FILM FRAMES}" * 200_000))
    assert 4096 <= len(os.read(reading, 1 << 20)) < 800_000 and writer.lost == 1


HOLD = """
import os, sys
from pathlib import Path
from darkroom.daemon.config import Log
from darkroom.daemon.log import set_up
set_up(Log(), {})
print(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT))
"""


@pytest.mark.parametrize("closed", [(2,), (0, 2)])
def test_no_file_of_ours_becomes_standard_error_where_that_is_closed(tmp_path: Path, closed: tuple[int, ...]) -> None:
    shut = " ".join(f"{number}>&-" for number in closed)
    command = ["sh", "-c", f'exec "$0" -c "$1" "$2" {shut}', sys.executable, HOLD, str(tmp_path / "file")]
    assert int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) > 2


def test_a_child_finds_the_standard_streams_open_that_were_closed_for_us() -> None:
    ask = "import subprocess; subprocess.run(['readlink', '/proc/self/fd/0', '/proc/self/fd/2'], check=True)"
    words = f"from darkroom.daemon.config import Log; from darkroom.daemon.log import set_up; set_up(Log()); {ask}"
    command = ["sh", "-c", 'exec "$0" -c "$1" <&- 2>&-', sys.executable, words]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == b"/dev/null\n/dev/null\n"
