"""How long a test waits for what should come at once: a busy machine may stand still for minutes, a hang is longer."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATIENCE_S = 900.0


def patiently(command: Sequence[str | Path], *, check: bool = False, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run `command` and return what it said, as text. A hang is killed and raises."""
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=check, **more)
