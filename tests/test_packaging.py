"""What a wheel of this checkout holds: everything the program needs, and nothing else."""

import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from patience import patiently

from darkroom.pipelines.upscale.models import MODELS

ROOT = Path(__file__).parent.parent
ROOMS = ("daemon", "pipelines", "kernels")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Build the wheel in a copy, for setuptools leaves folders behind."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("darkroom", *ROOMS, "tests"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    patiently([sys.executable, "-P", "-c", build], cwd=copy, check=True)
    return ZipFile(next((copy / "dist").glob("*.whl")))


def test_every_module_is_in_the_wheel(wheel: ZipFile) -> None:
    sources = {f"darkroom/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert sources <= set(wheel.namelist())


def test_weights_licences_and_types_are_in_the_wheel(wheel: ZipFile) -> None:
    weights = "darkroom/pipelines/upscale/weights"
    wanted = {f"{weights}/{model.file}" for model in MODELS.values()}
    wanted |= {f"{weights}/{path.name}" for path in (ROOT / "pipelines/upscale/weights").glob("LICENSE*")}
    assert wanted | {"darkroom/py.typed"} <= set(wheel.namelist())
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_nothing_is_installed_under_a_name_that_is_not_ours(wheel: ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"darkroom"}


def test_the_command_is_installed(wheel: ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert b"darkroom = darkroom.daemon.cli:main" in wheel.read(name)
