import sys
from pathlib import Path

import pytest
from patience import patiently
from tables import BENCH, bench

everything = bench("all")


def test_every_program_that_writes_a_table_is_run() -> None:
    page = (BENCH / "README.md").read_text()
    assert set(everything.PROGRAMS) == {
        path.stem for path in BENCH.glob("*.py") if f"<!-- {path.stem}: begin -->" in page
    }


def test_programs_run_in_order_and_failures_are_named(tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text((BENCH / "all.py").read_text())
    for name in everything.PROGRAMS:
        (tmp_path / f"{name}.py").write_text(f"import sys; print('ran', *sys.argv[1:]); sys.exit({name == 'memory'})")
    command = [sys.executable, str(tmp_path / "all.py"), "--quick"]
    ended = patiently(command)
    assert ended.returncode == 1
    assert ended.stdout.count("ran --quick") == len(everything.PROGRAMS)
    assert "failed: memory;" in ended.stderr


def test_a_run_without_failures_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queues.py").write_text("")
    monkeypatch.setattr(everything, "__file__", str(tmp_path / "all.py"))
    monkeypatch.setattr(sys, "argv", ["all.py"])
    assert everything.succeeds("queues")
