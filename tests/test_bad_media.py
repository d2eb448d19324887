"""Whatever lies in an inbox: it is done, or it is refused in one line that names the fact and the remedy.

A sample of what `make fuzz` does ten thousand times, bombs, and a folder of both through the whole daemon.
"""

import json
import os
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from bombs import BOMBS, deflated_twice
from bombs import pdf as bomb_pdf
from clips.shapes import film
from fuzz import mutated
from house import House, cut_clip
from specimens import films, images, pdfs
from trials import Ending, of_damaged, prepare, specimens, tried

SAMPLE = int(os.environ.get("DARKROOM_FUZZ", "200"))
WORST = {"twice.pdf", "forms.pdf"}  # refused by nobody before they are drawn: `worker.memory` ends what they do
COSTLY = {"palette.png", "deep.png", "still.png"}  # one of them stands for the others: seconds of processor time each


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    prepare()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    return specimens(tmp_path_factory.mktemp("whole"))


def faults(endings: dict[str, Ending]) -> list[str]:
    return [f"{name}: {ending.word}: {ending.reason}" for name, ending in endings.items() if not ending.is_good]


def test_the_files_are_good_before_they_are_damaged(whole: list[tuple[str, Path]]) -> None:
    endings = {f"{verb} {source.name}": tried(verb, source) for verb, source in whole}
    assert {ending.word for ending in endings.values()} == {"done"}, faults(endings)


def test_damaged_files_are_done_or_refused_and_nothing_else(whole: list[tuple[str, Path]], tmp_path: Path) -> None:
    endings = dict(of_damaged(whole, number, tmp_path) for number in range(SAMPLE))
    assert faults(endings) == []
    words = [ending.word for ending in endings.values()]
    assert words.count("done") > SAMPLE / 5 and words.count("rejected") > SAMPLE / 5, (
        "the damage is too small, or great"
    )


def test_a_film_cut_at_any_place_is_done_or_refused(tmp_path: Path) -> None:
    data = film(tmp_path / "a.mkv", frames=12, size=(96, 64)).read_bytes()
    endings = {}
    for size in range(1, len(data), len(data) // 40):
        (tmp_path / "cut.mkv").write_bytes(data[:size])
        endings[f"{size} bytes"] = tried("upscale", tmp_path / "cut.mkv")
    assert faults(endings) == []
    assert [ending.word for ending in endings.values()][:20] == ["rejected"] * 20


@pytest.mark.parametrize("name", [name for name in BOMBS if name not in WORST | (COSTLY - {"still.png"})])
def test_a_bomb_is_done_or_refused_in_little_memory(name: str, tmp_path: Path) -> None:
    verb, make = BOMBS[name]
    ending = tried(verb, make(tmp_path / name))
    assert ending.is_good, ending
    assert ending.grown_bytes < (5 * 2**29 if name in COSTLY else 300 * 2**20)


# -- the whole daemon ------------------------------------------------------------------------------------------------


class Reader(House):
    """A house, and what became of its files."""

    def jobs(self) -> dict[str, tuple[str, str]]:
        """Return state and reason of each job, by name."""
        answer = self.command("jobs", "--json", "--limit", "1000")
        assert answer.returncode == 0, answer.stderr
        return {job["name"]: (job["state"], job["reason"]) for job in json.loads(answer.stdout)}

    def assert_orderly(self) -> None:
        """See that the worker outlived all of them, and that nobody was surprised."""
        log = "\n".join(self.lines)
        for word in ("a bug in Darkroom", "Traceback", "the worker was ended", "the worker took", "not moved"):
            assert word not in log, log


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Reader]:
    house = Reader(tmp_path / "house")
    yield house
    house.clear()


def test_a_folder_of_odd_files_is_worked_off_and_each_has_its_reason(
    inbox: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = cut_clip(tmp_path / "good.mp4", 16)
    data = good.read_bytes()
    put = inbox.inbox.joinpath
    for name, content in {
        "one byte.mp4": b"x",
        "header.mp4": data[:40],
        "cut.mp4": data[: len(data) // 2],
        "text.mkv": b"This is not a film.\n" * 50,
        "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        "empty.mp4": b"",
        "wrong suffix.avi": data + b"\0\0\0\x08free",
        "no film.txt": data,
    }.items():
        put(name).write_bytes(content)
    shutil.copy(good, put("good.mp4"))
    keys = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "07" * 16, "encryption_kid": "08" * 16}
    film(put("encrypted.mp4"), frames=12, size=(96, 64), muxing=keys)
    film(put("sparse.mkv"), frames=12, size=(96, 64))
    os.truncate(put("sparse.mkv"), 2**40)
    os.mkfifo(put("fifo.mkv"))
    put("folder.mkv").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(inbox.inbox)  # the path of a socket is short
        server.bind("socket.mkv")
    assert inbox.drain() == 3
    inbox.assert_orderly()
    jobs = inbox.jobs()
    refused = {name: reason for name, (state, reason) in jobs.items() if state == "quarantined"}
    assert {name for name, (state, _) in jobs.items() if state == "done"} == {"good.mp4", "wrong suffix.avi"}
    assert refused.keys() == {
        *("one byte.mp4", "header.mp4", "cut.mp4", "text.mkv", "playlist.mp4", "encrypted.mp4", "sparse.mkv"),
    }
    assert all("\n" not in reason and reason.startswith(f"{name}: ") for name, reason in refused.items()), refused
    assert sorted(inbox.results()) == ["good.mp4", "wrong suffix.mp4"]


def test_damaged_films_by_the_dozen_leave_worker_and_daemon_alive(inbox: Reader, tmp_path: Path) -> None:
    dice = random.Random(41)
    for source in films(tmp_path):
        for number in dice.sample(range(10**6), 3):
            (inbox.inbox / f"{number}{source.suffix}").write_bytes(mutated(source.read_bytes(), number)[0])
    assert inbox.drain() in (0, 3)
    inbox.assert_orderly()
    jobs = inbox.jobs()
    assert len(jobs) >= 20
    assert {state for state, _ in jobs.values()} <= {"done", "quarantined", "skipped"}
    assert all(reason and "\n" not in reason for _, reason in jobs.values())


def test_images_and_documents_that_are_none_or_bombs_are_refused_one_by_one(tmp_path: Path) -> None:
    house = Reader(tmp_path / "house", pipeline="ocr", options={})
    for name in ("claims.png", "claims.gif"):
        BOMBS[name][1](house.inbox / name)
    for source in (*images(tmp_path), *pdfs(tmp_path)):
        (house.inbox / source.name).write_bytes(source.read_bytes()[:60])
    assert house.drain() == 3
    house.assert_orderly()
    jobs = house.jobs()
    assert {name: reason for name, (state, reason) in jobs.items() if state != "quarantined"} == {}
    assert all("\n" not in reason and reason.startswith(f"{name}: ") for name, (_, reason) in jobs.items()), jobs


def test_a_document_that_unfolds_to_more_than_there_is_is_given_up_and_the_daemon_goes_on(tmp_path: Path) -> None:
    house = Reader(tmp_path / "house", {"memory": "400 MiB"}, pipeline="ocr", options={})
    bomb_pdf(house.inbox / "twice.pdf", deflated_twice)
    (house.inbox / "words.txt.pdf").write_bytes(b"no document")
    assert house.drain() == 3
    jobs = house.jobs()
    assert {state for state, _ in jobs.values()} == {"quarantined"}
    assert "worker.memory (400 MiB)" in jobs["twice.pdf"][1] and ", 3 times" in jobs["twice.pdf"][1]
