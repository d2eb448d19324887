"""Images with prompts, as a user meets them: in any order, as a batch, with faults, and with originals that go."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, wait_until
from studio import PROGRAM

from darkroom.daemon.job import Job
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.states import State


class Studio(House):
    """A house whose folder paints what is said beside each image."""

    program = PROGRAM

    def __init__(self, root: Path, **folder: object) -> None:
        super().__init__(root, None, **{"name": "art", "pipeline": "paint", "options": {}} | folder)

    def put(self, name: str, text: str = "") -> Path:
        """Write a sidecar with `text`, or an image of its own."""
        path = self.inbox / name
        path.write_text(text or f"image {name}")
        return path


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(tmp_path / "studio")
    yield studio
    studio.clear()


def jobs(studio: Studio) -> list[Job]:
    with Journal(studio.state / FILE, readonly=True) as journal:
        return journal.jobs()


def states(studio: Studio) -> list[str]:
    return [job.state for job in jobs(studio)]


def test_an_image_waits_for_its_prompt_over_a_restart_and_runs_once_it_is_there(studio: Studio) -> None:
    studio.put("cat.jpg")
    assert studio.drain() == 75
    (job,) = json.loads(studio.command("jobs", "--json").stdout)
    assert (job["state"], job["reason"]) == ("held", "waiting for cat.txt or cat.yaml")
    refused = studio.command("release", "1")
    assert refused.returncode == 2 and "waiting for cat.txt or cat.yaml; it is queued by itself" in refused.stderr
    studio.put("cat.txt", "a cat that sings\n")
    assert studio.drain() == 0
    assert studio.results() == {"cat.out": b"a cat that sings\n" * 2}
    assert states(studio) == ["cancelled", "done"]
    assert studio.drain() == 0 and len(jobs(studio)) == 2


def test_a_prompt_waits_for_its_image_with_a_visible_reason(studio: Studio) -> None:
    studio.put("cat.txt", "a cat that sings")
    studio.start()
    studio.see("jobs may start")  # before that there is no journal to ask
    wait_until(lambda: waiting(studio) == {"cat.txt": "prompt without its file cat.*"})
    studio.put("cat.jpg")
    studio.see("done: published as cat.out")
    assert studio.stop() == 0
    assert states(studio) == ["done"]


def waiting(studio: Studio) -> object:
    return json.loads(studio.command("status", "--json").stdout)["folders"]["art"].get("waiting")


def test_a_folder_with_a_prompt_of_its_own_needs_none_beside_its_images(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "studio")
    studio.put("cat.jpg")
    assert studio.drain() == 75
    studio.config.write_text(studio.config.read_text().replace("options: {}", "options: {prompt: a sky}"))
    studio.put("dog.png")
    studio.put("dog.txt", "a dog")
    assert studio.drain() == 0
    assert studio.results() == {"cat.out": b"a sky\n" * 2, "dog.out": b"a dog\n" * 2}


def test_a_list_makes_a_job_of_each_entry_in_order(studio: Studio) -> None:
    studio.put("cat.jpg")
    studio.put("cat.yaml", "[{prompt: one}, {prompt: two, strokes: 1}, {prompt: three, strokes: 1}]")
    assert studio.drain() == 0
    assert studio.results() == {"cat.out": b"one\none\n", "cat (2).out": b"two\n", "cat (3).out": b"three\n"}
    assert states(studio) == ["done"] * 3
    assert studio.drain() == 0 and len(jobs(studio)) == 3


def test_all_faults_of_a_batch_are_told_at_once_and_none_of_it_runs(studio: Studio) -> None:
    studio.put("cat.jpg")
    sidecar = studio.put("cat.yaml", "[{prompt: one}, {promt: two, strokes: 500}, hello]")
    assert studio.drain() == 3
    (job,) = jobs(studio)
    assert job.reason == (
        "cat.yaml: entry 2: strokes: expected 1 to 100, got 500; entry 2: promt: unknown key; did you mean prompt?;"
        " entry 3: expected options such as `option: value`, got str"
    )
    assert (job.state, studio.results()) == (State.QUARANTINED, {})
    sidecar.write_text("[{prompt: one}, {prompt: two}]")
    assert studio.drain() == 0
    assert states(studio) == ["quarantined", "done", "done"]


def test_a_sidecar_that_changes_while_the_first_of_its_jobs_runs_makes_all_of_them_anew(
    studio: Studio, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    entries = "[{prompt: one, after: %s}, {prompt: two}, {prompt: three}]"
    studio.put("cat.jpg")
    sidecar = studio.put("cat.yaml", entries % gate)
    studio.start()
    studio.see("segments to do")
    sidecar.write_text("[{prompt: uno}, {prompt: two}]")
    studio.see("done: published as cat (2).out")
    assert studio.stop() == 0
    assert studio.results() == {"cat.out": b"uno\nuno\n", "cat (2).out": b"two\ntwo\n"}
    assert states(studio) == ["cancelled"] * 3 + ["done"] * 2
    assert studio.strays() == []


def test_an_entry_that_did_not_change_is_not_made_twice(studio: Studio) -> None:
    studio.put("cat.jpg")
    sidecar = studio.put("cat.yaml", "[{prompt: one}, {prompt: two}]")
    assert studio.drain() == 0
    sidecar.write_text("[{prompt: one}, {prompt: deux}]")
    assert studio.drain() == 0
    assert states(studio) == ["done", "done", "skipped", "done"]
    assert studio.results()["cat (3).out"] == b"deux\ndeux\n"


def test_a_source_is_deleted_when_the_last_of_its_jobs_is_done(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "studio", originals="delete")
    image = studio.put("cat.jpg")
    sidecar = studio.put("cat.yaml", "[{prompt: one}, {prompt: two, broken: true}, {prompt: one}, {prompt: three}]")
    assert studio.drain() == 3
    assert states(studio) == ["done", "failed", "skipped", "done"]
    assert studio.command("retry", "--failed").stdout == "job 2 cat.jpg: queued again\n"
    assert studio.drain() == 3
    assert states(studio) == ["done", "failed", "skipped", "done"]
    assert image.exists() and sidecar.exists()
    report = json.loads((studio.state / "reports/art/cat (4).out.json").read_text())
    assert report["warnings"] == ["cat.jpg: original kept: it waits for job 2 (failed) of the same file"]
    sidecar.write_text("[{prompt: one}, {prompt: two}, {prompt: three}]")
    assert studio.drain() == 0
    assert states(studio)[4:] == ["skipped", "done", "skipped"]
    assert sorted(studio.results()) == ["cat (2).out", "cat (4).out", "cat.out"]
    assert [path.name for path in studio.inbox.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize("moment", ["queued in art", "segments to do", "publishing", "done: published as cat (2)"])
def test_a_batch_survives_a_kill_at_any_moment_with_each_entry_made_once(tmp_path: Path, moment: str) -> None:
    studio = Studio(tmp_path / "studio", originals="delete")
    studio.put("cat.jpg")
    studio.put("cat.yaml", "[{prompt: one}, {prompt: two}, {prompt: three}]")
    studio.start()
    studio.see(moment)
    studio.kill()
    assert studio.drain() == 0
    expected = {"cat.out": b"one\none\n", "cat (2).out": b"two\ntwo\n", "cat (3).out": b"three\nthree\n"}
    assert studio.results() == expected
    assert states(studio) == ["done"] * 3
    assert studio.strays() == [] and not (studio.inbox / "cat.jpg").exists()
