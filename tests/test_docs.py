"""README.md tells the truth: its commands, exit codes, files and states are those of the program."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer

from darkroom.daemon.cli import app
from darkroom.daemon.config import Folder
from darkroom.daemon.ending import EXIT_CODES
from darkroom.daemon.names import FIELDS
from darkroom.daemon.states import State
from darkroom.pipelines import KINDS
from darkroom.pipelines.ocr.options import EngineName
from darkroom.pipelines.ocr.outputs.write import KINDS as OUTPUTS
from darkroom.pipelines.upscale.models import MODELS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = typer.main.get_group(app)
PICTURE_LIMIT_BYTES = 400_000

FENCED = [block.splitlines() for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)]
LINES = [line for block in FENCED for line in block] + re.findall(r"`(darkroom [^`]+)`", README)


def commands_in_readme() -> list[str]:
    """Return the words after `darkroom` wherever README.md gives a command, with a number for JOB."""
    found = [
        match[1]
        for line in LINES
        if (match := re.search(r"(?:^|share/darkroom/bin/|sudo -u darkroom )darkroom (.*)", line))
    ]
    commands = (text.partition("  ")[0].partition(" #")[0] for text in found)
    return sorted({re.sub(r"\bJOB\b", "41", text) for text in commands})


def parse(command: str) -> None:
    """Read `command` as the program would, without doing anything. Raises Exit (of --help) and what typer raises."""
    words = shlex.split(command)
    context = COMMANDS.make_context("darkroom", list(words))
    name = next((word for word in words if word in COMMANDS.commands), None)
    if name is not None:
        COMMANDS.commands[name].make_context(name, words[words.index(name) + 1 :], parent=context)
    elif not words[0].startswith("--"):
        COMMANDS.resolve_command(context, words)


def test_the_readme_gives_commands() -> None:
    assert {"init ~/darkroom", "run --drain", "show 41"} <= set(commands_in_readme())


@pytest.mark.parametrize("command", commands_in_readme())
def test_every_command_of_the_readme_can_be_given(command: str) -> None:
    try:
        parse(command)
    except typer.Exit as leave:  # of --help
        assert leave.exit_code == 0


@pytest.mark.parametrize("command", ["statsu", "show", "show x", "retry --filed"])
def test_a_wrong_command_would_be_noticed(command: str) -> None:
    with pytest.raises(Exception, match=r"No such|Missing|valid integer"):
        parse(command)


def test_every_command_is_in_the_readme() -> None:
    table = set(re.findall(r"^\| `darkroom (\w+)", README, re.MULTILINE))
    assert table == set(COMMANDS.commands)


def test_every_exit_code_is_in_the_readme_with_its_meaning() -> None:
    table = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    assert {int(code): meaning.replace("`", "") for code, meaning in table} == EXIT_CODES


def test_every_state_of_a_job_is_explained() -> None:
    rows = "\n".join(re.findall(r"^\| `.*$", README, re.MULTILINE))
    assert [state for state in State if f"`{state}`" not in rows] == []


def test_every_model_and_pipeline_is_described() -> None:
    assert [name for name in MODELS if f"| `{name}` |" not in README] == []
    assert [model.title for model in MODELS.values() if model.title not in README] == []
    assert [name for name in KINDS if f"inbox/{name}" not in README] == []
    assert [name for name in OUTPUTS if f"| `{name}` |" not in README] == []
    assert [name for name in get_args(EngineName) if f"| `{name}` |" not in README] == []


def test_every_suffix_that_is_taken_is_named_and_no_other() -> None:
    found = re.findall(r"under these names: ([^.]*)\.", README)
    assert [{f".{name}" for name in names.split()} for names in found] == [kind.suffixes for kind in KINDS.values()]


def test_the_name_fields_are_those_of_the_program() -> None:
    (fields,) = re.findall(r"with the fields `([^`]*)`", README)
    assert set(fields.split()) == {f"{{{name}}}" for name in FIELDS}


def test_every_choice_of_a_folder_has_a_word() -> None:
    silent = {"watch", "symlinks", "stage"}  # explained in config.yaml only
    assert [key for key in Folder.model_fields.keys() - silent if key not in README] == []


def test_the_map_names_every_file_and_no_other() -> None:
    house = (ROOT / "docs" / "house.md").read_text()
    mapped = re.findall(r"^\| `([\w.]+(?:/[\w.]+)+)` \|", house, re.MULTILINE)
    rooms = ("daemon", "pipelines", "kernels", "darkroom", "bench")
    files = {path for room in rooms for path in (ROOT / room).rglob("*.py") if path.read_text().strip()}
    files |= {*(ROOT / "systemd").iterdir(), ROOT / ".ci" / "run"}
    assert sorted(mapped) == sorted(str(path.relative_to(ROOT)) for path in files)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_picture_is_small_enough_for_a_page() -> None:
    picture = ROOT / "docs" / "before-after.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < PICTURE_LIMIT_BYTES


def test_make_knows_the_targets_of_the_readme() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b *(?:#|`)", README))
    assert {"demo", "test"} <= named <= targets
