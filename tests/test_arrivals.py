"""However a file arrives, it is published once and whole, with its sound and its subtitles."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from av.container import InputContainer
from house import House, cut_clip

CHUNKS = 12


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with sound and subtitles in Matroska."""
    folder = tmp_path_factory.mktemp("film")
    plain = cut_clip(folder / "plain.mp4", 24)
    words = folder / "words.srt"
    words.write_text("1\n00:00:00,100 --> 00:00:00,600\nHallo!\n\n2\n00:00:00,700 --> 00:00:00,900\nCiao!\n")
    target = folder / "film.mkv"
    with av.open(str(plain)) as source, av.open(str(words)) as subtitles, av.open(str(target), "w") as out:
        copies = {stream: out.add_stream_from_template(stream) for stream in source.streams}
        text = out.add_stream_from_template(subtitles.streams.subtitles[0])
        text.metadata["language"] = "ger"
        packets = [(packet, copies[packet.stream]) for packet in source.demux() if packet.size]
        packets += [(packet, text) for packet in subtitles.demux() if packet.size]
        for packet, stream in sorted(packets, key=lambda entry: (entry[0].dts or 0) * entry[0].time_base):
            packet.stream = stream
            out.mux(packet)
    return target


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "house", settle=1.0)
    yield house
    house.clear()


def slow_copy(film: Path, inbox: Path) -> list[str]:
    data = film.read_bytes()
    with (inbox / "film.mkv").open("wb") as target:
        for start in range(0, len(data), len(data) // CHUNKS + 1):
            target.write(data[start : start + len(data) // CHUNKS + 1])
            target.flush()
            time.sleep(0.25)
    return ["film.mkv"]


def paused_copy(film: Path, inbox: Path) -> list[str]:
    """A copy that pauses for longer than the file must be still, with the file open."""
    data = film.read_bytes()
    with (inbox / "film.mkv").open("wb") as target:
        target.write(data[: len(data) // 2])
        target.flush()
        time.sleep(2.5)
        target.write(data[len(data) // 2 :])
    return ["film.mkv"]


def rename_in(film: Path, inbox: Path) -> list[str]:
    draft = inbox / "film.mkv.part"
    shutil.copy(film, draft)
    draft.rename(inbox / "film.mkv")
    return ["film.mkv"]


def rsync(film: Path, inbox: Path) -> list[str]:
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    subprocess.run(["rsync", "-a", "--bwlimit=100", str(film), f"{inbox}/film.mkv"], check=True)
    return ["film.mkv"]


def move_tree(film: Path, inbox: Path) -> list[str]:
    outside = inbox.parent / "season"
    (outside / "01").mkdir(parents=True)
    for number in (1, 2):
        cut_clip(outside / "01" / f"e{number}.mp4", 16, skip=20 * number)
    shutil.copy(film, outside / "pilot.mkv")
    outside.rename(inbox / "season")
    return ["season/01/e1.mp4", "season/01/e2.mp4", "season/pilot.mkv"]


@pytest.mark.parametrize("bring", [slow_copy, paused_copy, rename_in, rsync, move_tree])
def test_each_file_is_published_once_with_sound_and_subtitles(
    house: House, film: Path, bring: Callable[[Path, Path], list[str]]
) -> None:
    house.start()
    house.see("jobs may start")
    expected = bring(film, house.inbox)
    for name in expected:
        house.see(f"done: published as {name}")
    assert house.stop() == 0
    assert sorted(house.results()) == expected
    assert sum(" queued in " in line for line in house.lines) == len(expected)
    assert not any("warning" in line or "error" in line for line in house.lines), house.lines
    for name in expected:
        assert_same_but_larger(house.inbox / name, house.outbox / name)


def assert_same_but_larger(source: Path, result: Path) -> None:
    with av.open(str(source)) as before, av.open(str(result)) as after:
        assert sorted(streams_of(after)) == sorted(streams_of(before))
        assert after.streams.video[0].width == 2 * before.streams.video[0].width
        times = [[packet.pts or 0 for packet in file.demux(video=0) if packet.size] for file in (before, after)]
        assert sorted(times[0]) == sorted(times[1])
    for kind in ("audio", "subtitles"):
        assert packets_of(source, kind) == packets_of(result, kind)


def streams_of(file: InputContainer) -> list[tuple[str, str]]:
    return [(stream.type, stream.language or "") for stream in file.streams]


def packets_of(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as file:
        return [
            bytes(packet) for stream in getattr(file.streams, kind) for packet in file.demux(stream) if packet.size
        ][:99]
