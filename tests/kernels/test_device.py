from pathlib import Path

import pytest
import torch

from darkroom.kernels.device import DTYPES, describe, fast_precision, is_full, matmul_rate


def test_a_cpu_gets_bf16_only_where_it_has_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for avx512, amx, expected in ((True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=avx512: answer)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda answer=amx: answer)
        assert fast_precision("cpu") == expected


def test_cuda_gets_fp16_without_being_touched() -> None:
    assert fast_precision("cuda:3") == "fp16"


def test_this_machine_convolves_in_the_precision_it_is_given() -> None:
    dtype = DTYPES[fast_precision("cpu")]
    x, w = torch.rand(1, 3, 8, 8, dtype=dtype), torch.rand(4, 3, 3, 3, dtype=dtype)
    assert torch.nn.functional.conv2d(x, w).dtype == dtype


def test_a_cpu_is_described_by_its_name_threads_and_memory() -> None:
    device = describe("cpu")
    assert (device.kind, device.capability) == ("cpu", (0, 0))
    assert device.name.endswith(f"{torch.get_num_threads()} threads")
    assert 0 < device.free_bytes <= device.total_bytes


def test_a_system_without_proc_is_described_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    device = describe("cpu")
    assert device.free_bytes == device.total_bytes // 2
    assert device.name


def test_the_rate_counts_two_operations_for_each_multiply_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.kernels.device._seconds_of_matmul", lambda a, b: 0.25)
    assert matmul_rate("cpu", "fp32") == pytest.approx(2 * 1024**3 / 0.25 / 1e12)


def test_a_pause_of_the_machine_does_not_decide_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([9.0, 9.0, 0.1, 0.1, 5.0])
    monkeypatch.setattr("darkroom.kernels.device._seconds_of_matmul", lambda a, b: next(seconds))
    assert matmul_rate("cpu", "fp32", budget_s=0.0) == pytest.approx(2 * 1024**3 / 0.1 / 1e12)


def test_this_machine_is_measured() -> None:
    assert 1e-4 < matmul_rate("cpu", "fp32", budget_s=0.0) < 1e3


def test_memory_that_ran_out_is_known_by_type_or_by_words() -> None:
    for full in (torch.OutOfMemoryError("x"), MemoryError(), RuntimeError("CUDA error: out of memory")):
        assert is_full(full)
    with pytest.raises(RuntimeError) as huge:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert is_full(huge.value)
    assert not is_full(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_full(OSError("out of memory"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_card_is_described_and_measured() -> None:
    device = describe("cuda")
    assert device.kind == "cuda"
    assert device.capability >= (3, 0)
    assert 0 < device.free_bytes <= device.total_bytes
    assert matmul_rate("cuda", "fp16", budget_s=0.1) > 1
    held = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    assert abs(describe("cuda").free_bytes - device.free_bytes) < held.nbytes // 2, (
        "what we hold ourselves is ours to use"
    )
