import pytest
import torch

from darkroom.kernels.fused.configs import ANYWHERE, LAUNCHES, SHARED_KIB, architecture, launch


@pytest.mark.parametrize(
    ("capability", "arch"),
    [
        ((8, 0), 80),
        ((8, 6), 86),
        ((8, 7), 86),
        ((8, 9), 89),
        ((9, 0), 90),
        ((10, 3), 100),
        ((12, 1), 120),
        ((13, 0), 120),
    ],
)
def test_a_gpu_is_cut_for_like_the_nearest_older_one(capability: tuple[int, int], arch: int) -> None:
    assert architecture(capability) == arch


def test_a_gpu_without_the_tensor_cores_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"7\.5"):
        architecture((7, 5))


def test_every_kind_of_gpu_has_an_entry_for_every_precision() -> None:
    assert set(LAUNCHES) == {(arch, precision) for arch in SHARED_KIB for precision in ("16 bit", "int8", "fp32")}


def test_tiles_divide_the_window() -> None:
    for cut in (*LAUNCHES.values(), ANYWHERE):
        assert 128 % cut.queries == 0
        assert 128 % cut.keys == 0


def test_without_a_gpu_the_launch_is_one_for_anywhere() -> None:
    assert launch(torch.device("cpu"), "16 bit") is ANYWHERE
