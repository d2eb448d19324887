"""Pictures with prompts through the whole daemon, with a tiny random Wan2.1 in the layout that is loaded."""

import json
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from house import House
from PIL import Image

from darkroom.pipelines.animate import tiny

OPTIONS = {"size": "128x128", "frames": 5, "steps": 5}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models")).parent


def furnished(root: Path, models: Path | None) -> House:
    house = House(root, {"attempts": 1}, name="art", pipeline="animate", options=OPTIONS)
    if models is not None:
        (root / "models").symlink_to(models)
    return house


def picture(house: House, name: str, shade: int = 0, prompt: str = "") -> None:
    """Drop a picture, and a prompt beside it."""
    Image.new("RGB", (96, 64), (shade, 80, 255 - shade)).save(house.inbox / name)
    if prompt:
        (house.inbox / name).with_suffix(".txt").write_text(prompt)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # several wait for each other longer than a tiny model computes


@pytest.fixture
def house(tmp_path: Path, models: Path) -> Iterator[House]:
    house = furnished(tmp_path / "house", models)
    yield house
    house.clear()


def jobs(house: House) -> dict[str, tuple[str, str]]:
    """The state and the reason of the newest job of each file."""
    listed = json.loads(house.command("jobs", "--json").stdout)
    return {job["path"]: (job["state"], job["reason"]) for job in sorted(listed, key=lambda job: job["id"])}


def test_ten_good_pictures_and_three_that_are_not_are_worked_off(house: House) -> None:
    for number in range(10):
        picture(house, f"cat{number}.jpg", 20 * number, f"cat number {number} runs")
    (house.inbox / "cat0.txt").unlink()
    (house.inbox / "cat0.yaml").write_text("prompt: a cat runs\nseed: 7\nsteps: 3\n")
    picture(house, "broken.jpg", prompt="x")
    (house.inbox / "broken.jpg").write_bytes((house.inbox / "cat1.jpg").read_bytes()[:200])
    picture(house, "alone.png", 5)
    picture(house, "odd.png", 15)
    (house.inbox / "odd.yaml").write_text("prompt: y\nframs: 9\nguidance: 50\n")
    assert house.drain() == 3
    assert set(house.results()) == {f"cat{number}.mp4" for number in range(10)}
    states = jobs(house)
    assert states["alone.png"] == ("held", "waiting for alone.txt or alone.yaml")
    assert states["broken.jpg"][0] == states["odd.png"][0] == "quarantined"
    assert states["broken.jpg"][1].startswith("broken.jpg: damaged or not an image")
    assert states["odd.png"][1].startswith("odd.yaml: guidance: ")
    assert "expected 1 to 20, got 50" in states["odd.png"][1]
    assert "frams: unknown key; did you mean frames?" in states["odd.png"][1]
    with av.open(str(house.outbox / "cat0.mp4")) as film:
        told = json.loads(film.metadata["comment"])
        assert (told["prompt"], told["seed"], told["steps"]) == ("a cat runs", 7, 3)
        assert sum(1 for _ in film.decode(video=0)) == 5


@pytest.mark.long
def test_a_kill_in_the_middle_of_any_of_them_changes_no_byte(house: House, models: Path, tmp_path: Path) -> None:
    calm = furnished(tmp_path / "calm", models)
    for home in (calm, house):
        for number in range(2):
            picture(home, f"cat{number}.jpg", 90 * number, f"cat number {number} runs")
    assert calm.drain() == 0, calm.lines
    for segment in ("cat0.jpg segment 1 of 7 done", "cat0.jpg segment 4 of 7 done", "cat1.jpg segment 6 of 7 done"):
        seen = len(house.lines)
        house.start()
        house.see(segment, seen)
        house.kill()
    assert house.drain() == 0, house.lines
    assert house.results() == calm.results()
    assert house.strays() == []


def test_without_its_weights_the_job_ends_and_says_what_to_do(tmp_path: Path) -> None:
    house = furnished(tmp_path / "house", None)
    picture(house, "cat.jpg", prompt="it runs")
    assert house.drain() == 3
    _, reason = jobs(house)["cat.jpg"]
    assert "models/wan2.1-i2v: no weights of Wan2.1 I2V; put there the files of Wan-AI/Wan2.1-I2V-14B" in reason
    assert "darkroom models import" in reason
