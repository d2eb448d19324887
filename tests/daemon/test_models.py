"""`darkroom models` and `darkroom models import`, as their user gives them."""

import json
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from darkroom.daemon.cli import app
from darkroom.daemon.ending import OK, UNAVAILABLE, USAGE
from darkroom.daemon.models import models_view
from darkroom.daemon.setup import init
from darkroom.pipelines import tiny_models
from darkroom.pipelines.animate import tiny_original
from darkroom.pipelines.models import ModelFile, ModelSet
from darkroom.pipelines.upscale.flashvsr.files import NAMES
from darkroom.pipelines.upscale.models import MODELS


class Desk:
    """A ready tree, with tiny weights beside it."""

    def __init__(self, root: Path) -> None:
        self.config, self.models = init(root / "house"), root / "house" / "models"
        self.source = tiny_models.write(root / "downloads", "1.1")

    def ask(self, *arguments: object) -> Result:
        result = CliRunner().invoke(app, ["--config", str(self.config), "models", *map(str, arguments)])
        assert "Traceback" not in result.stderr
        return result

    def listed(self) -> dict[str, dict[str, Any]]:
        result = self.ask("--json")
        assert result.exit_code == OK
        return {model["name"]: model for model in json.loads(result.stdout)}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    before = os.umask(0o022)  # each command sets that of its configuration
    yield Desk(tmp_path)
    os.umask(before)


def test_the_list_names_models_files_places_and_sources(desk: Desk) -> None:
    words = desk.ask().stdout
    for word in (
        *MODELS,
        *NAMES.values(),
        "built in",
        "files are missing",
        "JunhaoZhuang/FlashVSR-v1.1",
        "bd28180edcf3",
    ):
        assert word in words
    assert f"! put them in {desk.models}/flashvsr-v1.1; or in a folder of their own, and then: darkroom models" in words
    found = desk.listed()
    assert found["photo"]["state"] == "built in"
    assert found["flashvsr 1"]["files"][0]["verdict"] == "missing"


def test_what_is_imported_is_ready_and_listed_with_whole_digests(desk: Desk) -> None:
    result = desk.ask("import", desk.source)
    assert result.exit_code == OK, result.output
    assert result.stdout.splitlines()[-1] == f"flashvsr 1.1: ready, in {desk.models}/flashvsr-v1.1"
    assert len(result.stdout.splitlines()) == len(NAMES) + 1
    model = desk.listed()["flashvsr 1.1"]
    assert (model["state"], model["place"]) == ("ready", f"{desk.models}/flashvsr-v1.1")
    assert all(len(file["sha256"]) == 64 and file["size_bytes"] for file in model["files"])
    assert "as dit.safetensors" in desk.ask().stdout


def test_an_import_for_programs_is_one_document(desk: Desk) -> None:
    said = json.loads(desk.ask("import", desk.source, "--json").stdout)
    assert (said["name"], said["state"], len(said["done"])) == ("flashvsr 1.1", "ready", len(NAMES))


def test_the_version_is_asked_for_where_the_files_do_not_tell_it(desk: Desk) -> None:
    source = desk.source.rename(desk.source.with_name("new"))
    result = desk.ask("import", source)
    assert (result.exit_code, result.stdout) == (UNAVAILABLE, "")
    assert "nothing says which version these files are of" in result.stderr
    assert desk.ask("import", source, "--version", "2").exit_code == USAGE
    assert desk.ask("import", source, "--version", "1").exit_code == OK
    assert desk.listed()["flashvsr 1"]["state"] == "ready"


def test_a_folder_without_weights_is_told_in_one_line(desk: Desk, tmp_path: Path) -> None:
    result = desk.ask("import", tmp_path)
    assert result.exit_code == UNAVAILABLE
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{tmp_path}: no {NAMES['dit']}")
    assert not desk.models.exists()


def test_a_wan_is_imported_and_listed_as_flashvsr_is(desk: Desk) -> None:
    assert desk.listed()["wan2.1-i2v"]["state"] == "files are missing"
    words = " ".join(desk.ask().stdout.split())
    assert "Wan2.1 I2V: makes videos from images" in words and "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers" in words
    source = tiny_original.write(desk.source.parent)
    result = desk.ask("import", source)
    assert result.exit_code == OK, result.output
    place = desk.models / "wan2.1-i2v-480p"
    assert result.stdout.splitlines()[-1] == f"wan2.1-i2v-480p: ready, in {place}"
    assert desk.listed()["wan2.1-i2v-480p"]["place"] == str(place)
    (source / "Wan2.1_VAE.pth").unlink()
    refused = desk.ask("import", source)
    assert (refused.exit_code, refused.stderr.strip()) == (
        UNAVAILABLE,
        f"{source}: no Wan2.1_VAE.pth; fetch Wan-AI/Wan2.1-I2V-14B-480P to the end",
    )


def test_names_from_the_disk_do_not_disturb_the_terminal() -> None:
    file = ModelFile(name="a", origin="b", path=Path("\x1b[2J[red]"), verdict="converted")
    model = ModelSet(name="n", pipeline="p", summary="s", place=Path("/x"), trouble="\x1b[2J", files=(file,))
    page = StringIO()
    Console(file=page, width=200).print(models_view([model]))
    assert "\x1b" not in page.getvalue() and "[red]" in page.getvalue()
