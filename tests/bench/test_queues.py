from pathlib import Path

import pytest
from tables import bench, number, rows_of

queues = bench("queues")


def test_the_journal_is_measured_and_what_is_missing_is_named(tmp_path: Path) -> None:
    rows = rows_of("queues", tmp_path)
    ours = [row for row in rows if row["queue"] == queues.Ours.name]
    assert [row["queued"] for row in ours] == ["200", "400"]
    for row in ours:
        assert all(number(cell) > 0 for name, cell in row.items() if name not in ("queue", "queued"))
    page = (tmp_path / "page.md").read_text()
    assert all(peer.name in page for peer in queues.PEERS)


@pytest.mark.parametrize("peer", queues.PEERS, ids=lambda peer: peer.name)
def test_each_queue_hands_out_what_was_put_in_flushed_to_the_disk(peer: type, tmp_path: Path) -> None:
    try:
        queue = peer(tmp_path)
    except ImportError:
        pytest.skip(f"{peer.__name__} is installed for the comparison only")
    queue.fill(3)
    assert queue.synchronous() == queues.FULL
    queue.put(3)
    taken = [queue.take() for _ in range(4)]
    assert all(item is not None for item in taken)
    if queue.finish is not None:
        for item in taken:
            queue.finish(item)


def test_an_operation_is_counted_until_it_has_been_done_often_enough() -> None:
    calls: list[int] = []
    assert queues.paced(lambda: calls.append(1), seconds=60, at_most=7).a_second > 0
    assert len(calls) == 7


def test_a_slow_operation_is_done_once_however_short_the_time() -> None:
    calls: list[int] = []
    assert queues.paced(lambda: calls.append(1), seconds=0).a_second > 0
    assert len(calls) == 1
