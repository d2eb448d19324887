"""The Triton kernels as the benchmark runs them, interpreted, in a process of its own."""

import json
import os
import sys
from pathlib import Path

import pytest
from patience import patiently

pytest.importorskip("triton")
BENCH = Path(__file__).parents[2] / "bench"
PROGRAM = """
import json, torch
import sparse
case = sparse.Case(name="some", query_slices=1, key_slices=2, share=0.4)
print(json.dumps(list(sparse.rows([case], (1, 2), 2, 64, torch.float32, torch.device("cpu"), 1.0, 1))))
"""


@pytest.mark.long
def test_the_kernels_agree_and_have_their_rows() -> None:
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "PYTHONPATH": str(BENCH),
    }
    ended = patiently([sys.executable, "-c", PROGRAM], env=environment)
    assert ended.returncode == 0, ended.stderr
    rows = {row["way"]: row for row in json.loads(ended.stdout.splitlines()[-1])}
    assert rows["Triton"]["error"] < 1e-5
    assert 1e-4 < rows["Triton, int8 products"]["error"] < 2.5e-2
    assert rows["Triton, the selection alone"]["ms"] > 0
    assert rows["Triton, the selection alone"]["remark"] == "0.00% of the pairs not as defined"
    assert all(float(rows[way]["ms"]) > 0 for way in ("Triton", "Triton, int8 products"))
