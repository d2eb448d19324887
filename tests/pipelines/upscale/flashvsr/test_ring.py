import pytest
import torch

from darkroom.pipelines.upscale.flashvsr.ring import Ring, empty

CPU = torch.device("cpu")


def ring(kept: int, offload: bool = False) -> Ring:
    return empty(layers=2, windows=1, width=4, kept=kept, dtype=torch.float32, device=CPU, offload=offload)


@pytest.mark.parametrize(
    ("kept", "seen", "carried"),
    [  # the table of the specification: slices that chunk 0, 1, 2 ... attend to, and those they leave
        (3, [3, 4, 4, 4], [3, 3, 3, 3]),
        (2, [3, 3, 3, 3], [2, 2, 2, 2]),
        (1, [3, 3, 3, 3], [2, 2, 2, 2]),
        (4, [3, 4, 5, 5], [3, 4, 4, 4]),
    ],
)
def test_one_slice_goes_where_there_are_too_many(kept: int, seen: list[int], carried: list[int]) -> None:
    now, found_seen, found_carried = ring(kept), [], []
    for slices in (3, 1, 1, 1):
        now, _ = now.take(slices)
        found_seen.append(len(now.live))
        now = now.age()
        found_carried.append(len(now.live))
    assert (found_seen, found_carried) == (seen, carried)


@pytest.mark.parametrize("offload", [False, True])
def test_slices_stay_what_they_are_while_others_come_and_go(offload: bool) -> None:
    now = ring(3, offload)
    wanted: list[float] = []
    for number, slices in enumerate((3, 1, 1, 1, 1, 1), 1):
        now, new = now.take(slices)
        for index in range(2):
            layer = now.fetch(index, new)
            layer.keys[new] = layer.values[new] = number + index / 10
            now.keep(index, new)
        wanted += [number] * slices
        for index in range(2):
            layer = now.fetch(index, slice(0, 0))
            assert [layer.keys[slot, 0, 0].item() for slot in now.live] == pytest.approx(
                [w + index / 10 for w in wanted]
            )
        now = now.age()
        wanted = wanted[-len(now.live) :]


def test_more_slices_than_there_is_room_for_are_refused() -> None:
    now, _ = ring(3).take(3)
    with pytest.raises(ValueError, match="3 slices do not fit beside 3 of 4"):
        now.take(3)
