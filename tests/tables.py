"""Runs a program of `bench` in its quick way and reads the table it wrote."""

import importlib
import sys
from pathlib import Path
from typing import Any

from patience import patiently

BENCH = Path(__file__).parent.parent / "bench"


def rows_of(program: str, folder: Path) -> list[dict[str, str]]:
    """Return the rows of the table that `program` writes into a page below `folder`, by their columns."""
    page = folder / "page.md"
    page.write_text(f"before\n<!-- {program}: begin -->\nold\n<!-- {program}: end -->\nafter\n")
    command = [sys.executable, str(BENCH / f"{program}.py"), "--quick", "--readme", str(page)]
    ended = patiently(command)
    assert ended.returncode == 0, ended.stderr
    written = page.read_text()
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "\nold\n" not in written
    return parsed(written)


def parsed(page: str) -> list[dict[str, str]]:
    """Return the rows of the one Markdown table in `page`."""
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in page.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


def number(text: str) -> float:
    """Return the number in a cell."""
    return float(text.replace(",", ""))


def bench(module: str) -> Any:
    """Import a module of `bench`, whose programs find each other in their own folder."""
    if str(BENCH) not in sys.path:
        sys.path.append(str(BENCH))
    return importlib.import_module(module)
