"""FlashVSR through the whole daemon, with tiny random weights in the published layout."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, cut_clip

from darkroom.pipelines.tiny_models import write
from darkroom.pipelines.video.probe import probe

OPTIONS = {"model": "flashvsr", "segment_frames": 16, "preset": "ultrafast", "precision": "fp32"}
FRAMES = 45


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write(folder, "1")
    write(folder, "1.1")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_clip(tmp_path_factory.mktemp("clip") / "film.mp4", FRAMES, size=(56, 40))


def furnished(root: Path, models: Path | None, clip: Path, **options: object) -> House:
    house = House(root, options=OPTIONS | options)
    if models is not None:
        (root / "models").symlink_to(models)
    shutil.copy(clip, house.inbox)
    return house


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, models: Path, clip: Path) -> House:
    """A house in which nothing happened but the work."""
    house = furnished(tmp_path_factory.mktemp("calm") / "house", models, clip)
    assert house.drain() == 0, house.lines
    return house


@pytest.fixture
def house(tmp_path: Path, models: Path, clip: Path) -> Iterator[House]:
    house = furnished(tmp_path / "house", models, clip)
    yield house
    house.clear()


def test_a_dropped_film_comes_out_four_times_as_large_with_every_frame_at_its_time(calm: House, clip: Path) -> None:
    before, after = probe(clip), probe(calm.outbox / "film.mp4")
    assert (after.width, after.height) == (4 * before.width, 4 * before.height)
    assert after.frames == FRAMES
    assert [pts * after.time_base for pts in after.pts] == [pts * before.time_base for pts in before.pts]
    assert [stream.codec for stream in after.streams] == ["aac"]


def test_the_report_says_which_weights_and_settings_made_it(calm: House) -> None:
    made = json.loads(next(calm.state.glob("reports/films/*.json")).read_text())["made"]
    assert made["model"] == "flashvsr"
    assert made["flashvsr"]["version"] == "1.1"
    assert made["flashvsr"]["sparse_ratio"] == 2.0
    assert made["memory"] == "whole frames"
    assert len(made["weights_sha256"]) == 64


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("loaded", marks=pytest.mark.long),
        "segment 1 of",
        pytest.param("segment 2 of", marks=pytest.mark.long),
    ],
)
def test_a_killed_daemon_goes_on_and_gives_the_same_bytes(house: House, calm: House, moment: str) -> None:
    house.start()
    house.see(f"{moment}")
    house.kill()
    assert house.drain() == 0, house.lines
    assert house.results() == calm.results()
    assert house.strays() == []


def test_a_killed_worker_is_followed_by_one_that_goes_on(house: House, calm: House) -> None:
    house.start("--drain")
    house.see("segment 1 of")
    house.signal_workers(signal.SIGKILL)
    assert house.wait() == 0, house.lines
    assert house.results() == calm.results()


def test_tiles_give_as_many_frames_of_the_same_size_and_leave_nothing(tmp_path: Path, models: Path, clip: Path) -> None:
    house = furnished(
        tmp_path / "house", models, clip, memory={"tiled_dit": True, "tile_size": 64, "tile_overlap": 16}, scale=3
    )
    assert house.drain() == 0, house.lines
    found = probe(house.outbox / "film.mp4")
    assert (found.width, found.height, found.frames) == (168, 120, FRAMES)
    assert house.strays() == []


def test_missing_weights_hold_the_job_and_say_what_to_put_where(tmp_path: Path, clip: Path) -> None:
    house = furnished(tmp_path / "house", None, clip)
    house.start()
    said = house.see("diffusion_pytorch_model_streaming_dmd.safetensors")
    house.stop()
    assert str(tmp_path / "house" / "models") in said
    assert "FlashVSR-v1.1" in said
    assert (house.inbox / "film.mp4").exists()
    assert house.results() == {}


def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path: Path, models: Path, clip: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(models, bad)
    (bad / "flashvsr-v1.1" / "TCDecoder.ckpt").write_bytes(b"not a checkpoint")
    house = furnished(tmp_path / "house", bad, clip, flashvsr={"version": "1.1"})
    house.start()
    house.see("TCDecoder.ckpt")
    house.stop()
    assert house.results() == {}


def test_auto_takes_photo_without_a_gpu_and_says_why_in_the_status(tmp_path: Path, models: Path, clip: Path) -> None:
    house = furnished(tmp_path / "house", models, clip, model="auto", precision="auto")
    house.start("--drain")
    assert house.wait() == 0, house.lines
    made = json.loads(next(house.state.glob("reports/films/*.json")).read_text())["made"]
    assert (made["model"], made["chosen"]) == ("photo", "auto: FlashVSR wants a GPU")
