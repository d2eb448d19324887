"""FAULTS.md: each fault of the list has its row, and each test that a row names is there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LINES = 29  # the kinds of fault that the list began with; a row may be one of several for its line
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """Return the cells of each row: number, fault, what must hold, what shows it."""
    lines = [line for line in (TESTS / "FAULTS.md").read_text().splitlines() if re.match(r"\| *\d", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_kind_of_fault_has_rows_and_none_has_an_empty_cell() -> None:
    assert {int(re.match(r"\d+", row[0])[0]) for row in rows()} == set(range(1, LINES + 1))  # type: ignore[index]
    for row in rows():
        assert len(row) == 4 and all(len(cell) > 8 for cell in row[1:]), row


def test_each_row_names_a_test_or_says_why_there_is_none_and_what_protects() -> None:
    for number, _, _, shown in rows():
        assert TEST.search(shown) or ("not tested:" in shown and "protected:" in shown), f"{number}: {shown}"


@pytest.mark.parametrize(("file", "name"), sorted(set(TEST.findall((TESTS / "FAULTS.md").read_text()))))
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    assert f"def {name}(" in (TESTS / file).read_text()
