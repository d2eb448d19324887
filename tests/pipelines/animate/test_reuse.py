import pytest

from darkroom.pipelines.animate.options import AttentionCache, MagCache
from darkroom.pipelines.animate.reuse import computes, fresh_steps, mag_computes


def test_attention_is_reused_after_start_up_to_end_but_for_each_interval() -> None:
    cache = AttentionCache(start=2, interval=3, end=9)
    assert [step for step in range(12) if not computes(cache, step)] == [3, 4, 6, 7, 9]


def test_the_defaults_reuse_nineteen_of_forty_steps() -> None:
    fresh = fresh_steps(40, AttentionCache(), None)
    assert 40 - len(fresh) == 19
    assert set(range(12, 37, 4)) < set(fresh)


def test_without_a_cache_every_step_stands_alone() -> None:
    assert fresh_steps(5, None, None) == (0, 1, 2, 3, 4)


def test_steps_are_skipped_while_the_error_stays_below_the_threshold() -> None:
    even = MagCache(ratios=(1.0,) * 10, keep=0.2, most_skips=3)
    assert [step for step, computed in enumerate(mag_computes(even, 10)) if computed] == [0, 1, 5, 9]
    assert all(mag_computes(MagCache(ratios=(0.5,) * 10, keep=0.2), 10))


@pytest.mark.parametrize("steps", [5, 10, 23])
def test_ratios_are_stretched_to_the_number_of_steps(steps: int) -> None:
    assert len(mag_computes(MagCache(ratios=(1.0,) * 10), steps)) == steps
    assert mag_computes(MagCache(ratios=(1.0,) * 10), steps)[0]
