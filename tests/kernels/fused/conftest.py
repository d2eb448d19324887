"""Tests of the Triton kernels: on a GPU as they are, elsewhere in Triton's interpreter, in a process of their own.

`TRITON_INTERPRET` is read when a kernel is decorated, so it must be set before anything imports triton:
`tests/test_interpreter.py` starts that process.
"""

import os

import torch

collect_ignore_glob = [] if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
DEVICE = "cuda" if torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1" else "cpu"
