"""Ten thousand damaged files through the pipelines, and a table of what became of them: `make fuzz`.

    python tests/make_fuzz.py [COUNT]

Each number damages one file in its own way, so what is found is found again by the number in its line.
Exit status 1: something came out that the daemon could not have told the file's owner.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from trials import Ending, Word, of_damaged, prepare, specimens

WORDS: tuple[Word, ...] = ("done", "planned", "rejected", "unavailable", "bug", "short", "crash", "late")
COUNT = 10_000

Told = tuple[str, Ending]


def share(numbers: range) -> list[Told]:
    """Try the files of `numbers`, in a process of its own."""
    prepare()
    with TemporaryDirectory(prefix="darkroom-fuzz-") as name:
        whole = specimens(Path(name))
        return [of_damaged(whole, number, Path(name)) for number in numbers]


def table(told: Iterable[Told]) -> Iterator[str]:
    """Yield the rows of the table: what became of each format, and the most it took."""
    rows: dict[str, list[Ending]] = {}
    for name, ending in told:
        _, verb, source, _ = name.split(" ")
        rows.setdefault(f"{verb} {source.partition('.')[2]}", []).append(ending)
    yield f"| file | {' | '.join(WORDS)} | most MB | most CPU s |"
    yield "|---" * (len(WORDS) + 3) + "|"
    for name, endings in sorted(rows.items()):
        count = Counter(ending.word for ending in endings)
        memory = max(ending.grown_bytes for ending in endings) / 1e6
        cells = [*(count[word] for word in WORDS), f"{memory:.0f}", f"{max(ending.cpu_s for ending in endings):.1f}"]
        yield f"| {name} | {' | '.join(map(str, cells))} |"


def main() -> None:
    """Try them all, on every core."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:
        told = [one for part in pool.map(share, (range(core, count, cores) for core in range(cores))) for one in part]
    print(*table(told), sep="\n")
    faults = [f"{name}: {ending.word}: {ending.reason}" for name, ending in told if not ending.is_good]
    print(*faults, sep="\n", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
