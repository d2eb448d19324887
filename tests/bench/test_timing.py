import pytest
import torch
from tables import bench

timing = bench("timing")
CPU = torch.device("cpu")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that shows these times, one after the other."""
    times: list[float] = []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: times.pop(0))
    return times


def test_a_span_ends_at_its_mark_and_begins_at_the_one_before(seconds: list[float]) -> None:
    seconds += [10.0, 10.5, 12.5]
    clock = timing.Clock(CPU)
    for name in ("", "one", "two"):
        clock.mark(name)
    assert clock.spans() == {"one": 500, "two": 2000}
    assert clock.whole() == 2500


def test_the_median_counts_and_the_warm_ups_do_not(seconds: list[float]) -> None:
    warm = [0.0, 9.0, 9.0, 18.0, 18.0, 18.001]  # beginning and end of each
    seconds += [*warm, 20.0, 20.001, 30.0, 30.002, 40.0, 40.1, 50.0, 50.002, 60.0, 60.001]
    turns: list[int] = []
    assert timing.milliseconds(turns.append, CPU, repeats=5) == pytest.approx(2)
    assert turns == [0, 1, 2, 0, 1, 2, 0, 1]


def test_slow_work_is_repeated_as_often_as_there_is_time_for_and_thrice_at_least(seconds: list[float]) -> None:
    seconds += [0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.5, 5.5, 6.0, 7.0]
    turns: list[int] = []
    assert timing.milliseconds(turns.append, CPU, repeats=30, budget_s=2) == pytest.approx(1000)
    assert len(turns) == 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_kept_busy_while_work_is_given_out() -> None:
    timing.settle(torch.device("cuda"))
    timing.occupy(torch.device("cuda"), 500)
    assert not torch.cuda.current_stream().query()  # not done with it yet
    timing.settle(torch.device("cuda"))
    assert torch.cuda.current_stream().query()


def test_a_processor_is_not_kept_busy() -> None:
    timing.occupy(CPU, 1e9)


def test_limits_are_positive_and_a_cpu_has_no_peak_of_its_own() -> None:
    found = timing.limits(CPU, quick=True)
    assert found.matmul > 0
    assert found.copy > 0
    timing.forget_peak(CPU)
    assert timing.peak_gib(CPU) is None
