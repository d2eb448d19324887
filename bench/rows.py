"""What the programs here share: their options, child processes that answer in numbers, and the tables in README.md."""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = Path(__file__).resolve().parent / "README.md"

Row = Mapping[str, object]  # a line of a table by its columns


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks of a program."""

    quick: bool
    readme: Path | None  # where the table goes, beside the screen
    child: list[str]  # the program was started by itself, to measure this


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a piece of work took."""

    wall_s: float
    cpu_s: float  # of all threads, and of child processes that have ended


def asked(purpose: str) -> Asked:
    """Read the command line. Tables of a quick run are no results: they reach README.md only if it is named."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--quick", action="store_true", help="a tiny run that shows the program works; no results")
    parser.add_argument("--readme", type=Path, help="write the table there (bench/README.md, unless --quick)")
    parser.add_argument("--child", nargs="+", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args()
    return Asked(quick=given.quick, readme=given.readme or (None if given.quick else README), child=given.child)


def spent(work: Callable[[], object]) -> Spent:
    """Do `work` and say what it took."""
    wall, before = time.perf_counter(), cpu_seconds()
    work()
    return Spent(wall_s=time.perf_counter() - wall, cpu_s=cpu_seconds() - before)


def cpu_seconds() -> float:
    """Return what this process has computed so far, its ended children included."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def in_child(program: str, *what: object, quick: bool) -> dict[str, Any]:
    """Run `program` as its own process on `--child what...` and return the answer, a JSON object on its last line.

    A process of its own has a peak memory of its own, and is threaded like the daemon's worker. If it dies,
    the answer is {"error": its last words}.
    """
    command = [sys.executable, "-P", program, *(["--quick"] if quick else []), "--child", *map(str, what)]
    # As the daemon starts its worker: spinning threads would burn the other core's time.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "PYTHONPATH": str(Path(program).parent)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines()
    if ended.returncode:
        return {"error": lines[-1] if lines else f"ended with {ended.returncode}"}
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def memory_mb(field: str, pid: int | str = "self") -> float:
    """Return `field` of a process in MiB: VmRSS now, VmHWM at its peak.

    Not `ru_maxrss`: that one starts at the size of the process that forked.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status: has no {field}; is the process gone?")


def publish(section: str, rows: Sequence[Row], notes: Sequence[str], ask: Asked) -> None:
    """Print the table of `section`, and put it in its place in the README that was asked for."""
    warning = ["**A quick run: no results.**", ""] if ask.quick else []
    text = "\n".join([*warning, table(rows), "", *notes, "", conditions(section)])
    print(f"{section}\n\n{text}\n")
    if ask.readme is not None:
        before = ask.readme.read_text() if ask.readme.exists() else ""
        ask.readme.write_text(replaced(before, section, text))


def table(rows: Sequence[Row]) -> str:
    """Return `rows` as a Markdown table, with the columns of the first."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([shown(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: object) -> str:
    """Return a number with three significant digits, and all else as it is, on one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return " ".join(str(value).replace("|", "/").split())


def replaced(page: str, section: str, text: str) -> str:
    """Return `page` with `text` between the marks of `section`; they are added at its end if it has none."""
    begins, ends = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    if begins not in page:
        page += f"\n{begins}\n{ends}\n"
    head, _, rest = page.partition(begins)
    tail = rest.partition(ends)[2]
    return f"{head}{begins}\n\n{text}\n\n{ends}{tail}"


def conditions(section: str) -> str:
    """Return machine, versions and command in one line."""
    packages = ", ".join(f"{name} {found}" for name in ("torch", "av", "ncnn") if (found := _version(name)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"`python bench/{section}.py` on {processor()}, {os.cpu_count()} threads, {memory:.0f} GiB, no GPU used; "
        f"Python {platform.python_version()}, {packages}."
    )


def processor() -> str:
    """Return the processor's name and what of it decides the speed here."""
    facts = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    known = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(facts.get("flags", "").split())
    return f"{facts.get('model name', platform.machine())} ({', '.join(sorted(known)) or 'no AVX2'})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
