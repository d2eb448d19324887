"""Clocks that jump: the whole daemon under a wall clock that is set to 2046, to 2006 and by an hour, while it runs."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workshop import Workshop

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
NEW_YEAR = "2026-12-31 23:59:58"


def fakes_clocks() -> bool:
    """Tell whether the library works for this Python, and leaves alone the clocks that never jump."""
    if LIBRARY is None:
        return False
    environ = os.environ | {"LD_PRELOAD": str(LIBRARY), "FAKETIME": "+20y", "DONT_FAKE_MONOTONIC": "1"}
    tell = "import time; print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())"
    python = shutil.which("python3") or ""
    real, faked = (
        [float(word) for word in subprocess.run([python, "-c", tell], env=env, capture_output=True).stdout.split()]
        for env in (None, environ)
    )
    return len(faked) == 3 and faked[0] - real[0] > 6e8 and all(abs(faked[n] - real[n]) < 3600 for n in (1, 2))


pytestmark = pytest.mark.skipif(not fakes_clocks(), reason="libfaketime is not installed, or cannot do it here")


class Clockwork(Workshop):
    """A workshop whose wall clock a test sets."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
        super().__init__(root, {"retry_delays": ["10h"]})
        with self.settings() as written:
            written |= settings
        self._clock = root / "clock"
        self.set("+0")
        monkeypatch.setenv("TZ", "Europe/Berlin")
        for name, value in {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",  # seconds: it can be set while the daemon runs
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }.items():
            monkeypatch.setenv(name, value)

    def set(self, when: str) -> None:
        """Set the wall clock: "+20y" from now, or "@2046-11-21 03:59:58" from which it goes on."""
        draft = self._clock.with_suffix(".draft")
        draft.write_text(f"{when}\n")
        draft.rename(self._clock)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clockwork]:
    limits = {"age": "30d"}
    retention = {"at": "04:00", "results": limits, "reports": limits, "work": limits, "originals": limits}
    shop = Clockwork(tmp_path / "shop", monkeypatch, retention=retention | {"jobs": limits})
    yield shop
    shop.clear()


def forge(shop: Workshop, name: str) -> None:
    """Lay something into the inbox and wait until it is done."""
    shop.put(name)
    shop.see(f"done: published as {name}.out")


def memory(shop: Workshop) -> bytes:
    """Return what the last daily run left, when it was over."""
    path = shop.state / "retention.json"
    return path.read_bytes() if path.exists() else b""


def set_clock(shop: Clockwork, when: str) -> None:
    mark = len(shop.lines)
    shop.set(when)
    shop.see("the daily runs are scheduled anew", mark)


def live_through_four(shop: Clockwork, day: str) -> None:
    """Let it become four o'clock on `day`, and the daily run be over; again, if that was noticed too late."""
    before = memory(shop)
    while memory(shop) == before:
        set_clock(shop, f"@{day} 03:00:00")
        set_clock(shop, f"@{day} 03:59:57")
        late = time.monotonic() + 20
        while memory(shop) == before and time.monotonic() < late:
            time.sleep(0.02)


def test_a_clock_that_jumps_delays_no_work_and_deletes_nothing(shop: Clockwork) -> None:
    go_on = shop.root / "go-on"
    shop.start()
    forge(shop, "today")
    shop.put("long", "first", f"silent {go_on}", "last")
    shop.see("segment 1 of 3 done")
    for year in (2046, 2006):
        for day in (21, 22, 23):  # what two runs find too old would go
            live_through_four(shop, f"{year}-11-{day}")
            assert (shop.state / "backups" / f"journal-{year}-11-{day}.db").exists()
    for number, jump in enumerate(["+1h", "-1h", f"@{NEW_YEAR}", "@2026-03-29 01:59:58", "@2026-10-25 02:59:58", "+0"]):
        set_clock(shop, jump)
        shop.put(f"later-{number}")
        shop.see(f"later-{number}.txt queued in iron")
    go_on.touch()
    shop.see("done: published as later-5.out")
    assert shop.stop() == 0
    names = {"today", "long", *(f"later-{number}" for number in range(6))}
    assert {name.removesuffix(".out") for name in shop.results()} == names
    assert {path.stem for path in shop.inbox.glob("*.txt")} == names
    assert {(job.state, job.crashes, job.failures, job.attempts) for job in shop.jobs().values()} == {("done", 0, 0, 1)}
    assert len(list(shop.state.glob("reports/iron/*.json"))) == len(names)
    assert sum("nothing is removed by age" in line for line in shop.lines) >= 4
    assert not any("retention: removed" in line for line in shop.lines)


def test_delays_hold_by_the_clock_that_never_jumps(shop: Clockwork) -> None:
    """A second try in ten hours is not sooner in 2046, and not later in 2006."""
    shop.put("nail", f"device {shop.root / 'well'}")
    shop.start()
    shop.see("next try in 10 h")
    for year in (2046, 2006):
        set_clock(shop, f"@{year}-11-21 12:00:00")
        forge(shop, str(year))
    status = json.loads(shop.command("status", "--json").stdout)
    assert status["running"] and status["folders"]["iron"]["jobs"] == {"queued": 1, "done": 2}
    assert shop.jobs()["nail"].attempts == 1
    assert shop.stop() == 0
