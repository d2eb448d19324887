from pathlib import Path

import pytest
from tables import bench, number, rows_of


@pytest.mark.long
def test_two_workers_and_two_supervisors_are_measured(tmp_path: Path) -> None:
    rows = rows_of("memory", tmp_path)
    assert [row["process"] for row in rows] == ["worker", "worker", "supervisor", "supervisor"]
    assert [row["load"] for row in rows] == [
        "film of 5 s, 125 frames",
        "film of 10 s, 250 frames",
        "1 file waiting",
        "50 files waiting",
    ]
    for row in rows:
        assert 0 < number(row["RSS at the end, MiB"]) <= number(row["peak RSS, MiB"])
    # A worker holds torch, a supervisor never does.
    assert number(rows[0]["peak RSS, MiB"]) > number(rows[2]["peak RSS, MiB"])


def test_the_goal_is_called_missed_when_it_is() -> None:
    peaks = [{"peak RSS, MiB": peak} for peak in (100.0, 111.0, 50.0, 60.0)]
    assert "**1.110** (goal: at most 1.1; missed)" in bench("memory").notes(peaks)[0]
