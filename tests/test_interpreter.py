"""The Triton kernels where there is no GPU: in the interpreter, in a process of its own."""

import os
import sys
from pathlib import Path

from patience import patiently

ROOT = Path(__file__).parent.parent


def test_the_kernels_agree_with_their_definitions_in_the_interpreter() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "tests/kernels/fused", "-p", "no:cacheprovider"]
    done = patiently(command, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
