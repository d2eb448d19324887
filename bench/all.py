"""Runs every program here, one after the other, and says which failed; each rewrites its table in README.md."""

import subprocess
import sys
import time
from pathlib import Path

# Without a GPU, the last two only show that they work.
PROGRAMS = ("upscale", "peers", "memory", "overhead", "queues", "ocr", "seams", "flashvsr", "animate")


def main() -> None:
    failed = [name for name in PROGRAMS if not succeeds(name)]
    if failed:
        raise SystemExit(f"bench: failed: {', '.join(failed)}; what they said is above")


def succeeds(name: str) -> bool:
    """Run one program with the arguments given to this one, such as --quick."""
    began = time.monotonic()
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *sys.argv[1:]]
    ended = subprocess.run(command, check=False).returncode
    print(f"{name}: {'done' if ended == 0 else f'ended with {ended}'} after {time.monotonic() - began:.0f} s\n")
    return ended == 0


if __name__ == "__main__":
    main()
