"""The rules of the house, held by reading the source: who may import what, and how files are named and kept."""

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import patiently

ROOT = Path(__file__).parent.parent
ROOMS = ("daemon", "pipelines", "kernels")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
BELOW = {"daemon": {"daemon", "pipelines"}, "pipelines": {"pipelines", "kernels"}, "kernels": {"kernels"}}

LONGEST = 350  # lines
UNTESTED = {  # files without a test of their own: they hold names, no behaviour; this list may only shrink
    "pipelines/errors.py",
    "pipelines/video/options.py",
}
FORBIDDEN_WORDS = {"util", "utils", "helper", "helpers", "manager", "handler", "processor", "context", "common", "misc"}
LOCAL_IMPORTS = {  # heavy or optional ones, where they are needed
    "daemon/cli.py: darkroom.daemon.supervisor",
    "daemon/journal.py: darkroom.daemon.schema",
    "daemon/journal.py: sqlite_utils",
    "pipelines/upscale/enlarge.py: darkroom.pipelines.upscale",
}
SQL = re.compile(r"\b(SELECT .* FROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE|PRAGMA) ?")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the full names of the modules imported in `node`."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            assert found.module and not found.level, "imports name their module in full"
            yield found.module
            if found.module == "darkroom":
                yield from (f"darkroom.{alias.name}" for alias in found.names)


def importers(*packages: str) -> set[str]:
    """Return the sources that import one of `packages`."""
    return {
        name(path) for path in SOURCES if {module.partition(".")[0] for module in imported(tree(path))} & {*packages}
    }


def test_the_sources_are_found() -> None:
    assert {name(path).partition("/")[0] for path in SOURCES} == set(ROOMS)
    assert "daemon/journal.py" in map(name, SOURCES)


@pytest.mark.parametrize("room", ROOMS)
def test_the_links_point_home(room: str) -> None:
    link = ROOT / "darkroom" / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{room}"
    assert link.resolve() == ROOT / room


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_imports_run_one_way(source: Path) -> None:
    room = name(source).partition("/")[0]
    rooms = {module.split(".")[1] for module in imported(tree(source)) if module.startswith("darkroom.")}
    assert rooms & set(ROOMS) <= BELOW[room]


def test_the_daemon_names_neither_torch_nor_av() -> None:
    assert not [path for path in importers("torch", "av") if path.startswith("daemon/")]


def test_only_the_video_room_reads_and_writes_videos() -> None:
    users = importers("av")
    assert users
    assert all(path.startswith("pipelines/video/") for path in users)


def test_kernels_know_tensors_only() -> None:
    allowed = {"torch", "triton", "einops", "numpy", "darkroom"} | set(sys.stdlib_module_names)
    kernels = [path for path in SOURCES if name(path).startswith("kernels/")]
    assert {module.partition(".")[0] for path in kernels for module in imported(tree(path))} <= allowed


def test_one_file_owns_sql() -> None:
    owners = {"daemon/journal.py", "daemon/schema.py"}
    assert importers("sqlite_utils") <= owners
    for user in importers("sqlite3") - owners:
        assert all(used.endswith("Error") for used in taken_from("sqlite3", ROOT / user)), (
            f"{user} does more than catch"
        )
    speakers = {name(path) for path in SOURCES for text in strings(path) if SQL.search(text)}
    assert speakers <= owners
    assert "daemon/journal.py" in speakers, "the pattern finds no SQL at all"


def taken_from(module: str, path: Path) -> set[str]:
    """Return the names that `path` uses of `module`."""
    used = {node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    return {node.attr for node in used if isinstance(node.value, ast.Name) and node.value.id == module}


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_imports_inside_functions_are_the_known_few() -> None:
    found = {
        f"{name(path)}: {module}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
        for module in imported(node)
    }
    assert found == LOCAL_IMPORTS


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    code = "import sys, darkroom.daemon.cli; print(*sys.modules)"
    loaded = patiently([sys.executable, "-P", "-c", code], check=True)
    modules = set(loaded.stdout.split())
    assert "darkroom.daemon.journal" in modules
    assert not modules & {"torch", "av", "ncnn", "watchdog", "apscheduler"}


def test_tests_apart_from_those_of_models_load_none() -> None:
    listed = re.search(r"^MODELS := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed is not None
    apart = [f"--ignore={path}" for path in listed[1].replace("\\", "").split()]
    code = f"import pytest, sys; pytest.main({['--collect-only', '-qq', *apart]}); print(*sys.modules)"
    modules = set(patiently([sys.executable, "-P", "-c", code], cwd=ROOT, check=True).stdout.split())
    assert "darkroom.daemon.supervisor" in modules
    assert not modules & {"torch", "diffusers", "onnxruntime"}


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_no_file_is_too_long(source: Path) -> None:
    assert len(source.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_names_say_what_a_thing_is(source: Path) -> None:
    names = [source.stem]
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
    words = {word.lower() for found in names for word in re.findall(r"[A-Z]?[a-z]+", found)}
    assert not words & FORBIDDEN_WORDS


def test_every_source_file_has_its_test() -> None:
    sources = {path.relative_to(ROOT) for path in SOURCES if path.name != "__init__.py"}
    missing = {str(path) for path in sources if not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()}
    assert missing == UNTESTED


def test_every_test_of_a_room_has_its_source() -> None:
    for room in ROOMS:
        for test in (ROOT / "tests" / room).rglob("test_*.py"):
            source = ROOT / test.parent.relative_to(ROOT / "tests") / test.name.removeprefix("test_")
            assert source.exists(), f"{name(test)} tests nothing"


# Each contract of import-linter, broken once in a copy of the source: a contract that never fails holds nothing.
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("kernels/resize.py", "import darkroom.pipelines.base", "imports run one way"),
        ("pipelines/base.py", "import darkroom.daemon.job", "imports run one way"),
        ("daemon/worker.py", "import torch", "the daemon room names neither torch nor av"),
        ("daemon/worker.py", "import av", "the daemon room names neither torch nor av"),
        ("kernels/resize.py", "import av", "kernels know nothing of video"),
        ("pipelines/base.py", "import sqlite3", "one file owns SQL"),
    ],
)
def test_a_broken_import_contract_is_noticed(file: str, line: str, contract: str, tmp_path: Path) -> None:
    for folder in ("darkroom", *ROOMS):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "weights")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as source:
        source.write(f"\n{line}\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    )
    verdict = patiently([sys.executable, "-P", "-c", code], cwd=tmp_path)
    assert verdict.returncode == 1, verdict.stderr
    assert f"{contract} BROKEN" in verdict.stdout
