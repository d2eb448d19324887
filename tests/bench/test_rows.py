import sys
from pathlib import Path

import pytest
from tables import BENCH, bench, parsed

rows = bench("rows")


def test_a_table_holds_its_rows_in_the_order_of_the_columns() -> None:
    page = rows.table([{"way": "one", "seconds": 0.123456}, {"way": "two | three", "seconds": 12345.6}])
    assert parsed(page) == [{"way": "one", "seconds": "0.123"}, {"way": "two / three", "seconds": "12,346"}]


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (False, "no"), (3, "3"), (99.96, "100"), (1.5, "1.5"), ("a\nb", "a b")],
)
def test_values_are_shown_short(value: object, text: str) -> None:
    assert rows.shown(value) == text


def test_a_section_is_replaced_where_it_stands_and_nothing_else_changes() -> None:
    page = "head\n<!-- a: begin -->\nold a\n<!-- a: end -->\n<!-- b: begin -->\nold b\n<!-- b: end -->\ntail\n"
    changed = rows.replaced(page, "a", "new a")
    assert changed == page.replace("\nold a\n", "\n\nnew a\n\n")
    assert rows.replaced(changed, "a", "new a") == changed


def test_a_missing_section_is_added_at_the_end() -> None:
    assert rows.replaced("page\n", "c", "text").startswith("page\n\n<!-- c: begin -->\n\ntext")


def test_a_child_answers_with_its_last_line(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text('import sys, rows; print("noise"); print(\'{"said": "\' + " ".join(sys.argv[1:]) + \'"}\')')
    (tmp_path / "rows.py").symlink_to(BENCH / "rows.py")
    assert rows.in_child(str(program), "photo", 3, quick=True) == {"said": "--quick --child photo 3"}


def test_a_child_that_fails_answers_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys; sys.exit('no such thing')")
    assert rows.in_child(str(program), quick=False) == {"error": "no such thing"}


def test_a_child_killed_by_a_signal_is_an_error_too(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os; os.kill(os.getpid(), 9)")
    assert rows.in_child(str(program), quick=False) == {"error": "ended with -9"}


def test_work_is_counted_in_processor_seconds() -> None:
    took = rows.spent(lambda: sum(range(2_000_000)))
    assert 0 < took.cpu_s < 60
    assert took.wall_s > 0


def test_the_peak_of_a_process_is_at_least_what_it_holds() -> None:
    assert 0 < rows.memory_mb("VmRSS") <= rows.memory_mb("VmHWM")


def test_a_field_no_process_has_is_refused() -> None:
    with pytest.raises(ValueError, match="VmNothing"):
        rows.memory_mb("VmNothing")


def test_a_quick_run_leaves_the_page_of_results_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["upscale.py", "--quick"])
    assert rows.asked("purpose").readme is None
    monkeypatch.setattr(sys, "argv", ["upscale.py"])
    assert rows.asked("purpose").readme == BENCH / "README.md"
