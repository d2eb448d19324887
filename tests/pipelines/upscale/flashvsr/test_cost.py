import pytest

from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL
from darkroom.pipelines.upscale.flashvsr.cost import chunk_cost, tiny_latent


def test_a_chunk_of_768_by_1408_costs_what_the_specification_counts() -> None:
    cost = chunk_cost(OFFICIAL, 768, 1408)
    stages = (cost.linear, cost.cross, cost.attention, cost.projection, cost.decoder, cost.total)
    assert [round(stage / 1e12, 2) for stage in stages] == [21.13, 0.80, 23.91, 5.82, 14.67, 66.33]


def test_the_first_chunk_costs_three_times_as_much() -> None:
    cost = chunk_cost(OFFICIAL, 768, 1408, first=True)
    stages = (cost.linear, cost.cross, cost.attention, cost.projection, cost.decoder)
    assert [round(stage / 1e12, 1) for stage in stages] == [63.4, 2.4, 71.7, 18.4, 44.0]


def test_the_large_decoder_and_a_lower_ratio_cost_what_the_specification_counts() -> None:
    assert chunk_cost(OFFICIAL, 768, 1408, variant="full").decoder / 1e12 == pytest.approx(73.93, abs=0.01)
    assert chunk_cost(OFFICIAL, 768, 1408, sparse_ratio=1.5).total / 1e12 == pytest.approx(60.35, abs=0.01)
    assert tiny_latent(OFFICIAL, 8, 8) / 1e9 == pytest.approx(27.788, abs=0.001)


def test_small_frames_have_no_more_pairs_than_there_are() -> None:
    assert chunk_cost(OFFICIAL, 128, 128).attention == 30 * 4 * 4 * 128**2 * 1536
