from pathlib import Path

import pytest
from tables import bench, number, rows_of

peers = bench("peers")


def test_quick_ways_keep_every_frame_its_time_and_the_sound(tmp_path: Path) -> None:
    rows = rows_of("peers", tmp_path)
    assert [row["way"] for row in rows] == list(peers.QUICK_WAYS)
    for row in rows[:2]:  # the third is installed for the comparison only
        assert row["frames"] == "12 of 12"
        assert (row["same times"], row["sound"], row["remark"]) == ("yes", "kept", "")
        assert number(row["CPU-s/frame"]) > 0
    assert rows[2]["remark"].startswith("not run: ") or rows[2]["frames"] == "12 of 12"


def test_a_way_that_loses_something_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = bench("cutting").cut
    film = cut(tmp_path / "film.mp4", 20, size=(96, 54), uneven=True)

    def loses(_: Path, result: Path) -> object:
        return lambda: cut(result, 18, size=(96, 54))

    monkeypatch.setitem(peers.WAYS, "loses", ("none", loses))
    row = peers.measured("loses", film, tmp_path / "result.mp4", 20)
    assert row["frames"] == "18 of 20"
    assert row["same times"] is False
    assert row["sound"] != "kept"
