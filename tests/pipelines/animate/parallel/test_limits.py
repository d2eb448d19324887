import errno
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_wan import animate

from darkroom.pipelines.animate.options import ParallelOptions
from darkroom.pipelines.animate.parallel import limits
from darkroom.pipelines.animate.parallel.limits import check_devices, check_tokens, devices_from, shared_size
from darkroom.pipelines.animate.sizes import Size, tokens
from darkroom.pipelines.errors import Rejected, Unavailable


def test_degrees_that_do_not_divide_the_heads_are_refused_with_those_that_do() -> None:
    with pytest.raises(Unavailable, match=r"3 devices cannot share 40 heads evenly; set one of 1, 2, 4, 5, 8, 10$"):
        check_devices(ParallelOptions(ulysses=3), 40, "cpu")
    check_devices(ParallelOptions(ulysses=8, cfg=2), 40, "cpu")


def test_tokens_that_do_not_divide_are_refused_with_a_size_that_does() -> None:
    parallel = ParallelOptions(ulysses=2)
    with pytest.raises(Rejected, match=r"cat\.png: 81 frames of 688x432 are 24,381 tokens.* such as 672x432"):
        check_tokens(parallel, Size(688, 432), 81, "cat.png")
    check_tokens(parallel, Size(672, 432), 81, "cat.png")


@pytest.mark.parametrize(("size", "count"), [(Size(1280, 720), 75_600), (Size(832, 480), 32_760)])
def test_the_named_sizes_are_shared_by_two_four_and_eight(size: Size, count: int) -> None:
    assert tokens(size, 81) == count
    for ulysses in (2, 4, 8):
        check_tokens(ParallelOptions(ulysses=ulysses), size, 81, "cat.png")


@given(
    st.integers(8, 80).map(lambda n: 16 * n),
    st.integers(8, 80).map(lambda n: 16 * n),
    st.integers(1, 60).map(lambda n: 4 * n + 1),
    st.sampled_from([1, 2, 4, 5, 8, 10]),
)
def test_a_size_that_can_be_shared_is_near(width: int, height: int, frames: int, ulysses: int) -> None:
    size = Size(width, height)
    found = shared_size(size, frames, ulysses)
    assert tokens(found, frames) % ulysses == 0
    assert found == size or tokens(size, frames) % ulysses
    assert 0 <= width - found.width < 256
    assert 0 <= height - found.height < 256


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"parallel": {"ulysses": 4}}, "4 devices cannot share 2 heads"),
        (
            {"parallel": {"ulysses": 2}, "fit": "stretch", "size": "144x144", "frames": 9},
            r"243 tokens.* such as 128x128",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_when_it_is_planned(
    models: Path, image: Path, options: dict[str, Any], told: str
) -> None:
    pipeline = animate(models, **options)
    with pytest.raises((Rejected, Unavailable), match=told):
        pipeline.plan(pipeline.probe(image))


def test_a_size_that_follows_the_image_is_one_that_can_be_shared(models: Path, image: Path) -> None:
    sizes = []
    for parallel in ({}, {"ulysses": 2}):
        pipeline = animate(models, size="176x128", frames=9, parallel=parallel)
        plan = pipeline.plan(pipeline.probe(image))
        sizes.append((plan.size, tokens(plan.size, plan.frames) % 2))
    (alone, odd), (shared, even) = sizes
    assert (odd, even) == (1, 0)
    assert 0 < alone.area - shared.area < 0.2 * alone.area


def test_tiles_that_are_shared_out_are_planned(models: Path, image: Path) -> None:
    pipeline = animate(models, parallel={"cfg": 2, "vae": True})
    plan = pipeline.plan(pipeline.probe(image))
    assert plan.profile.vae_tiled
    assert "2 devices" in plan.what
    assert pipeline.report(plan)["parallel"]["vae"]


class Cards:
    @staticmethod
    def device_count() -> int:
        return 4


def test_devices_are_counted_from_the_workers_own_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_device_module", lambda device: Cards)
    assert devices_from(torch.device("cuda:1")) == 3
    assert devices_from(torch.device("cuda")) == 4
    assert devices_from(torch.device("cpu")) is None
    with pytest.raises(Unavailable, match="needs 4 devices from cuda:1 on, and there are 3"):
        check_devices(ParallelOptions(ulysses=4), 40, "cuda:1")
    check_devices(ParallelOptions(ulysses=4), 40, "cuda:0")


def test_a_service_that_may_not_speak_is_told_what_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refused)
    with pytest.raises(Unavailable, match="RestrictAddressFamilies=AF_INET AF_NETLINK"):
        check_devices(ParallelOptions(ulysses=2), 40, "cpu")
    check_devices(ParallelOptions(), 40, "cpu")


def test_another_fault_of_the_network_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", full)
    with pytest.raises(OSError, match="Too many"):
        limits.check_loopback()
