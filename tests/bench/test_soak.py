import json
import sys
from pathlib import Path

import pytest
from patience import patiently
from tables import BENCH, bench, parsed

soak = bench("soak")


def test_a_daemon_under_fire_for_some_seconds_keeps_its_promises(tmp_path: Path) -> None:
    page, rows = tmp_path / "page.md", tmp_path / "rows.json"
    command = [sys.executable, str(BENCH / "soak.py"), "--minutes", "0.2", "--report", str(page), "--rows", str(rows)]
    ended = patiently(command)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = parsed(page.read_text())
    assert len(found) == 7 and {row["broken"] for row in found} == {"0"}
    assert int(found[0]["looked at"].split()[0]) > 3, "files have arrived"
    *written, blows = json.loads(rows.read_text())
    assert [row["promise"] for row in written] == [row["promise"] for row in found]
    assert sum(blows.values()) >= 1, "and were not left in peace"


def test_a_broken_promise_is_told_and_is_the_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(sys, "argv", ["soak.py", "--report", str(page)])
    monkeypatch.setattr(soak, "make_clips", lambda *_: {})
    monkeypatch.setattr(soak, "undisturbed", lambda *_: {})
    monkeypatch.setattr(soak.Soak, "run", lambda *_: None)
    monkeypatch.setattr(soak.Soak, "finish", lambda *_: 0)
    lost = soak.Finding(promise="nothing is lost", looked_at="3 files", broken=("film.mp4",))
    monkeypatch.setattr(soak, "audit", lambda *_: [lost])
    with pytest.raises(SystemExit) as ended:
        soak.main()
    assert ended.value.code == 1
    assert "**Broken**, nothing is lost: film.mp4" in page.read_text()
