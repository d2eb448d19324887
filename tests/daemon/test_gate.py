from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon.config import Config
from darkroom.daemon.gate import WISHES, but_for_numbers, why_closed
from darkroom.daemon.journal import EVERYTHING

NOON = datetime(2026, 11, 21, 12, 0)
NIGHT = datetime(2026, 11, 21, 23, 30)
HUGE = "900 TiB"


def why(
    tmp_path: Path,
    *,
    now: datetime = NOON,
    offline: str = "",
    holds: dict[str, str] | None = None,
    reserve: int | str = 0,
    was_closed: bool = False,
    **fields: Any,
) -> str:
    folder = {"name": "films", "pipeline": "upscale", "inbox": "/in", "outbox": "/out"} | fields
    config = Config.model_validate({"state": tmp_path, "folders": [folder], "disk": {"work_reserve": reserve}})
    return why_closed(config, config.folders[0], offline, holds or {}, now, was_closed=was_closed)


def test_jobs_start_when_nothing_is_against_it(tmp_path: Path) -> None:
    assert why(tmp_path) == ""
    assert why(tmp_path, holds={"clips": "another folder's"}) == ""


@pytest.mark.parametrize("scope", ["films", EVERYTHING])
def test_a_hold_closes_a_folder_or_all(tmp_path: Path, scope: str) -> None:
    assert why(tmp_path, holds={scope: "new disk"}) == "on hold: new disk"
    assert why(tmp_path, holds={scope: ""}) == "on hold: no reason given", "a hold is one with no reason too"


def test_a_schedule_closes_outside_its_windows(tmp_path: Path) -> None:
    assert why(tmp_path, schedule=["22:00-07:00"]) == "outside its schedule (22:00-07:00)"
    assert why(tmp_path, schedule=["22:00-07:00"], now=NIGHT) == ""


def test_what_cannot_be_reached_or_written_closes(tmp_path: Path) -> None:
    assert why(tmp_path, offline="/in: not mounted") == "/in: not mounted"
    assert "needed" in why(tmp_path, reserve=HUGE) and str(tmp_path) in why(tmp_path, reserve=HUGE)


def test_a_wish_of_somebody_is_told_before_any_trouble(tmp_path: Path) -> None:
    trouble: dict[str, Any] = {"offline": "/in: gone", "reserve": HUGE}
    assert why(tmp_path, holds={"films": "nap"}, schedule=["22:00-07:00"], **trouble).startswith(WISHES[0])
    assert why(tmp_path, schedule=["22:00-07:00"], **trouble).startswith(WISHES[1])
    assert why(tmp_path, **trouble) == "/in: gone"


def test_who_waits_for_space_needs_a_tenth_more_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Volume:
        f_bavail, f_frsize, f_files, f_favail, f_flag = 105, 1, 0, 0, 0

    monkeypatch.setattr("darkroom.daemon.disk.os.statvfs", lambda _path: Volume)
    assert why(tmp_path, reserve=100) == ""
    assert "needed" in why(tmp_path, reserve=100, was_closed=True)


def test_causes_differ_by_what_they_say_and_not_by_their_numbers() -> None:
    assert but_for_numbers("1.2 GiB free, 3 GiB needed") == but_for_numbers("1.19 GiB free, 3 GiB needed")
    assert but_for_numbers("on hold: guests") != but_for_numbers("outside its schedule")
