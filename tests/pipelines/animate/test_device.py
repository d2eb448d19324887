import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from darkroom.pipelines.animate.device import environment, family_of, look, opened, release
from darkroom.pipelines.errors import Unavailable

ROOT = Path(__file__).parents[3]

# What torch_npu does as far as it matters here: it gives torch a device of that name, and a module about it.
STUB = """
import os, torch
read = {name: os.environ[name] for name in ("PYTORCH_NPU_ALLOC_CONF", "HCCL_CONNECT_TIMEOUT")}
torch.utils.rename_privateuse1_backend("npu")
class Npu:
    is_available = staticmethod(lambda: True)
    mem_get_info = staticmethod(lambda device: (10 << 30, 64 << 30))
    memory_reserved = staticmethod(lambda device: 2 << 30)
    get_device_name = staticmethod(lambda device: "Ascend910B2")
    released = []
    empty_cache = staticmethod(lambda: Npu.released.append(1))
torch._register_device_module("npu", Npu)
"""
LOOK = """
import torch
from darkroom.pipelines.animate.device import look, opened, release
npu = look("npu:1")
assert (npu.kind, npu.name, npu.total_bytes, npu.free_bytes) == ("npu", "Ascend910B2", 64 << 30, 12 << 30), npu
assert str(opened("npu:1")) == "npu:1"
release("npu:1")
assert torch.npu.released == [1]
import torch_npu
assert torch_npu.read == {"PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True", "HCCL_CONNECT_TIMEOUT": "60"}
"""


@pytest.mark.parametrize(
    ("device", "kind", "streams"),
    [
        ("cuda", "cuda", True),
        ("cuda:3", "cuda", True),
        ("npu:1", "npu", True),
        ("cpu", "cpu", False),
    ],
)
def test_a_device_is_of_a_family(device: str, kind: str, streams: bool) -> None:
    family = family_of(device)
    assert (family.kind, family.streams) == (kind, streams)


def test_other_devices_are_refused_by_name() -> None:
    with pytest.raises(Unavailable, match="mps: animate runs on cuda, npu or cpu"):
        family_of("mps")


def test_a_cpu_is_described_and_released() -> None:
    cpu = look("cpu")
    assert cpu.kind == "cpu"
    assert 0 < cpu.free_bytes <= cpu.total_bytes
    assert opened("cpu") == torch.device("cpu")
    release("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told_in_one_line() -> None:
    with pytest.raises(Unavailable, match=r"cuda:0: cannot be used \(.*\); is its driver running\?"):
        look("cuda:0")


def test_an_npu_without_its_package_says_which_to_install() -> None:
    with pytest.raises(
        Unavailable, match=r"npu:0: the package torch_npu is not installed; install the one for torch \d"
    ):
        opened("npu:0")


def test_an_npu_is_asked_by_the_module_its_package_brings(tmp_path: Path) -> None:
    (tmp_path / "torch_npu.py").write_text(STUB)
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    ran = subprocess.run(
        [sys.executable, "-P", "-c", LOOK],
        env={**os.environ, "PYTHONPATH": paths, "HCCL_CONNECT_TIMEOUT": "60"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_a_process_sees_its_devices_and_a_users_settings_stay() -> None:
    npu = environment("npu", (2, 3), {"PATH": "/bin", "HCCL_CONNECT_TIMEOUT": "60"})
    assert npu == {
        "PATH": "/bin",
        "HCCL_CONNECT_TIMEOUT": "60",
        "HCCL_EXEC_TIMEOUT": "1800",
        "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True",
        "ASCEND_RT_VISIBLE_DEVICES": "2,3",
    }
    cuda = environment("cuda:1", (1,), {})
    assert cuda == {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "CUDA_VISIBLE_DEVICES": "1"}
    assert environment("cpu", (0,), {"A": "b"}) == {"A": "b"}
