import pytest
import torch
import torch.distributed as dist
from wan_team import on_team

from darkroom.pipelines.animate.parallel.team import CFG, ULYSSES, Team, device_of


@pytest.mark.parametrize(
    ("first", "rank", "device"),
    [("cpu", 3, "cpu"), ("cuda", 0, "cuda:0"), ("cuda:0", 2, "cuda:2"), ("cuda:2", 1, "cuda:3")],
)
def test_devices_are_those_from_the_workers_own_on(first: str, rank: int, device: str) -> None:
    assert device_of(first, rank) == torch.device(device)


def test_four_are_two_halves_of_two_that_see_one_prompt_each() -> None:
    def mates(team: Team) -> tuple[str, list[int], list[int]]:
        groups = team.mesh.get_group(CFG), team.mesh.get_group(ULYSSES)
        halves, whole = (dist.get_process_group_ranks(group) for group in groups)
        return team.branch, halves, whole

    assert on_team(mates, cfg=2, ulysses=2) == [
        ("cond", [0, 2], [0, 1]),
        ("cond", [1, 3], [0, 1]),
        ("uncond", [0, 2], [2, 3]),
        ("uncond", [1, 3], [2, 3]),
    ]
