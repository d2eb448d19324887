import pytest
import torch

from darkroom.kernels.device import DTYPES, fast_precision


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
