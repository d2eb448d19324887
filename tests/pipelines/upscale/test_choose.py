from dataclasses import replace

import pytest

from darkroom.kernels.device import Device
from darkroom.pipelines.upscale.choose import resolve, unfit

A100 = Device(name="NVIDIA A100", kind="cuda", capability=(8, 0), total_bytes=40 << 30, free_bytes=39 << 30)


@pytest.mark.parametrize("model", ["photo", "fast", "anime", "flashvsr"])
def test_a_model_that_is_named_is_taken_whatever_stands_in_the_way(model: str) -> None:
    choice = resolve(model, "no weights")
    assert (choice.model, choice.why) == (model, "")


def test_auto_is_flashvsr_where_nothing_stands_in_the_way() -> None:
    assert resolve("auto", "", unfit(A100)).model == "flashvsr"


def test_auto_is_photo_otherwise_and_says_the_first_cause() -> None:
    choice = resolve("auto", "", "no FlashVSR weights in /models", unfit(replace(A100, kind="cpu")))
    assert (choice.model, choice.why) == ("photo", "auto: no FlashVSR weights in /models")


@pytest.mark.parametrize(
    ("device", "why"),
    [
        (Device(name="CPU", kind="cpu"), "FlashVSR wants a GPU"),
        (replace(A100, name="GTX 1080", capability=(6, 1)), "compute capability 8.0, GTX 1080 has 6.1"),
        (replace(A100, name="RTX 5090", capability=(12, 0)), ""),
    ],
)
def test_a_weak_device_says_what_it_lacks(device: Device, why: str) -> None:
    assert why in unfit(device)
    assert bool(why) == bool(unfit(device))
