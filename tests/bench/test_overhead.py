from pathlib import Path

import pytest
from tables import number, rows_of


@pytest.mark.long
def test_the_parts_of_the_way_add_up_for_a_cold_and_a_warm_worker(tmp_path: Path) -> None:
    cold, warm = rows_of("overhead", tmp_path)
    assert (cold["worker"], warm["worker"]) == ("cold", "warm")
    for row in (cold, warm):
        parts = [number(cell) for name, cell in row.items() if name not in ("worker", "all", "CPU-s of the worker")]
        assert min(parts) > -0.1  # two processes looked at the clock
        assert sum(parts) == pytest.approx(number(row["all"]), rel=0.02)
    assert number(cold["until queued"]) > 2, "a file settles first"
    assert number(cold["CPU-s of the worker"]) > number(warm["CPU-s of the worker"]) > 0, "torch is imported once"
