"""One attempt at one job: each kind of end, and going on from wherever the last attempt stopped."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import toys
from pydantic import BaseModel

from darkroom import pipelines
from darkroom.daemon import attempt as module
from darkroom.daemon.attempt import attempt
from darkroom.daemon.config import Config, load
from darkroom.daemon.filesystem import fresh_stat, opened_folder
from darkroom.daemon.job import Job, NewJob
from darkroom.daemon.journal import Journal
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.marker import INBOX, OUTBOX, adopt, save_identities
from darkroom.daemon.outbox import publish
from darkroom.daemon.parts import work_folder
from darkroom.daemon.run import run
from darkroom.daemon.states import State
from darkroom.daemon.wire import DRAIN, Wire
from darkroom.pipelines.base import Site
from darkroom.pipelines.errors import Rejected, Unavailable


class Desk:
    """An inbox with `a/film.mkv` in it, its claimed job, and the supervisor's end of the pipe."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, **folder: Any) -> None:
        self.inbox, self.outbox, self.root = root / "inbox", root / "outbox", root
        adopt(self.inbox, INBOX)
        adopt(self.outbox, OUTBOX)
        entry = {"name": "films", "pipeline": "upscale", "inbox": "inbox", "outbox": "outbox", **folder}
        (root / "config.yaml").write_text(json.dumps({"folders": [entry]}))
        self.config: Config = load(root / "config.yaml")
        self.config.state.mkdir()
        self.source = self.inbox / "a" / "film.mkv"
        self.source.parent.mkdir()
        self.source.write_bytes(bytes(range(50)))
        self.journal = Journal(root / "journal.db")
        with opened_folder(self.source.parent) as handle:
            signature = fresh_stat(b"film.mkv", handle, "ext4").signature
        new = NewJob(folder="films", pipeline="upscale", path=b"a/film.mkv", signature=signature, content="c")
        self.journal.enqueue([new], 1.0)
        self.toy: Any = toys.Blur()
        monkeypatch.setattr(pipelines, "make", self.make)

    def make(self, name: str, options: BaseModel, site: Site) -> Any:
        self.site = site
        return self.toy

    def attempt(self, *wishes: str) -> Job:
        """Claim the job and attempt it; `wishes` are there before it begins."""
        job = self.journal.claim(["films"], now=2.0, uptime=1e9, boot="boot")
        assert job is not None
        ours, theirs = Pipe()
        self.pipe: Connection = ours
        for wish in wishes:
            ours.send({"wish": wish})
        return attempt(job, config=self.config, journal=self.journal, device="cpu", wire=Wire(theirs, job))

    @property
    def results(self) -> dict[str, bytes]:
        found = (path for path in self.outbox.rglob("*") if path.is_file() and path.name != OUTBOX)
        return {str(path.relative_to(self.outbox)): path.read_bytes() for path in found}

    @property
    def work(self) -> Path:
        return work_folder(self.config.state, 1)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def test_a_job_ends_published_with_its_report_and_without_its_work(desk: Desk) -> None:
    job = desk.attempt()
    assert (job.state, job.reason) == (State.DONE, f"published as {os.fsdecode(job.result)}")
    ((name, data),) = desk.results.items()
    assert name.startswith("a/film") and len(data) == job.result_size
    assert not desk.work.exists()
    report = json.loads(next((desk.config.state / "reports").rglob("*.json")).read_text())
    assert report["source"]["path"] == "a/film.mkv" and report["result"]["sha256"] == job.result_sha256
    assert [event.new for event in desk.journal.events(1)] == ["queued", "running", "publishing", "done"]


def test_the_pipeline_is_told_where_it_runs(desk: Desk) -> None:
    desk.attempt()
    assert desk.site == Site(device="cpu", models=desk.root / "models", learned=desk.config.state / "learned.json")


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (Rejected("film.mkv: is a poem; send a film"), State.QUARANTINED, "film.mkv: is a poem; send a film"),
        (Unavailable("cuda:0: gone"), State.QUEUED, "cuda:0: gone; next try in 1 min"),
        (
            Unavailable("http://there: away", patient=True),
            State.QUEUED,
            "http://there: away; waits for it, next try in",
        ),
        (OSError(errno.EIO, "Input/output error", "part"), State.QUEUED, "part: Input/output error; next try"),
        (OSError(errno.ENOSPC, "No space left on device", "part"), State.QUEUED, "waits for space"),
        (MemoryError(), State.QUEUED, "MemoryError; next try"),
        (ZeroDivisionError("x"), State.FAILED, "a bug in Darkroom: ZeroDivisionError: x"),
    ],
)
def test_each_error_has_its_end_and_the_source_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, state: State, words: str
) -> None:
    monkeypatch.setattr(module, "run", failing(error))
    job = desk.attempt()
    assert job.state is state and words in job.reason
    assert desk.source.exists() and desk.results == {}
    if state is State.FAILED:
        assert "ZeroDivisionError" in desk.journal.events(1)[-1].detail


def test_failures_that_may_pass_are_tried_as_often_as_configured(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run", failing(Unavailable("weights are missing")))
    states = []
    for _ in range(3):
        states.append(desk.attempt().state)
    assert states == [State.QUEUED, State.QUEUED, State.FAILED]


def test_a_server_that_is_away_is_waited_for_as_long_as_it_takes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(module, "run", failing(Unavailable("http://there: away", patient=True)))
        states = {desk.attempt().state for _ in range(5)}
    assert states == {State.QUEUED}
    assert desk.attempt().state is State.DONE


@pytest.mark.parametrize("error", [
    Rejected("film.mkv: cut off; copy it again"), OSError(errno.EIO, "Input/output error"), Unavailable("cannot read"),
], ids=lambda error: type(error).__name__)  # fmt: skip
@pytest.mark.parametrize("place", ["inbox", "outbox"])
@pytest.mark.parametrize("how", ["away", "another"])
def test_a_share_that_went_is_not_the_files_fault_and_is_waited_for_as_long_as_it_takes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str, how: str
) -> None:
    marker = INBOX if place == "inbox" else OUTBOX
    folder: Path = getattr(desk, place)
    identities = {str(desk.inbox): adopt(desk.inbox, INBOX), str(desk.outbox): adopt(desk.outbox, OUTBOX)}
    save_identities(desk.config.state / IDENTITIES, identities)

    def fall(*_arguments: Any, **_options: Any) -> Any:
        if folder.exists():
            folder.rename(desk.root / "unmounted")
        folder.mkdir(exist_ok=True)
        if how == "another":
            adopt(folder, marker)
            (folder / "a").mkdir()
            (folder / "a/film.mkv").write_bytes(b"another share's")
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(module, "run", fall)
        ended = desk.attempt()
    if place == "outbox" and isinstance(error, Rejected):
        assert ended.state is State.QUARANTINED, "the outbox has nothing to do with what the file is"
        return
    assert (ended.state, ended.failures) == (State.QUEUED, 0)
    assert "waits for it" in ended.reason and ("another folder's" if how == "another" else "missing") in ended.reason
    shutil.rmtree(folder)
    (desk.root / "unmounted").rename(folder)
    assert desk.attempt().state is State.DONE


def test_the_pipeline_is_told_how_often_its_next_segment_ended_the_worker(desk: Desk) -> None:
    (desk.work / "plan").mkdir(parents=True)
    (desk.work / "plan/000000.bin").touch()
    for crashes, segment, told in ((2, 1, 2), (2, 0, 0)):
        desk.journal.note(1, crashes=crashes, crash_segment=segment)
        desk.attempt("hold")
        assert desk.site.crashes == told
        desk.journal.move(1, State.QUEUED, "", now=3.0)


def test_what_only_the_parts_show_is_reported_and_told_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Leaves(toys.Blur):
        def review(self, plan: toys.ToyPlan, parts: Sequence[Path]) -> dict[str, Any]:
            return {"sizes": [part.stat().st_size for part in parts], "incomplete": ["page 3 is missing"]}

    desk = Desk(tmp_path, monkeypatch)
    desk.toy = Leaves(size=25)
    job = desk.attempt()
    assert (job.state, job.reason) == (State.DONE, "published as a/film.bin; page 3 is missing")
    report = json.loads(next((desk.config.state / "reports").rglob("*.json")).read_text())
    assert report["made"]["sizes"] == [25, 25] and report["warnings"] == ["page 3 is missing"]


@pytest.mark.parametrize(("wish", "state"), [("cancel", State.CANCELLED), ("hold", State.HELD), (DRAIN, State.QUEUED)])
def test_a_wish_ends_the_job_and_only_a_cancel_throws_its_work_away(desk: Desk, wish: str, state: State) -> None:
    job = desk.attempt(wish)
    assert job.state is state
    assert desk.work.exists() == (wish != "cancel")
    assert job.attempts == (0 if wish == DRAIN else 1), "a stop is no attempt"


def test_a_file_that_changed_while_it_was_read_is_not_published(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run

    def run_and_write(*arguments: Any) -> Any:
        made = real(*arguments)
        desk.source.write_bytes(b"another film")
        return made

    monkeypatch.setattr(module, "run", run_and_write)
    job = desk.attempt()
    assert job.state is State.CANCELLED and desk.results == {}


def test_a_source_that_is_gone_is_no_failure_of_the_machine(desk: Desk) -> None:
    desk.source.unlink()
    job = desk.attempt()
    assert (job.state, job.mtime_ns) == (State.CANCELLED, -1)


def test_what_trips_over_a_file_that_is_being_replaced_is_no_bug(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_and_trip(*_: Any) -> Any:
        desk.source.write_bytes(b"another film")
        raise ZeroDivisionError("no frames")

    monkeypatch.setattr(module, "run", write_and_trip)
    assert desk.attempt().state is State.CANCELLED


def test_trouble_before_publishing_goes_on_cancels_no_job_whose_source_has_changed_since(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(module, "settle_original", failing(Unavailable("power cut")))
        assert desk.attempt().state is State.QUEUED
    desk.source.write_bytes(b"another film")
    with monkeypatch.context() as broken:
        broken.setattr(module, "_result_in", failing(OSError(errno.EIO, "Input/output error")))
        assert desk.attempt().state is State.QUEUED, "its result is in the outbox"
    assert desk.attempt().state is State.DONE


@pytest.mark.parametrize("step", ["publish", "settle_original", "make_report", "write_report"])
def test_an_attempt_that_ends_while_publishing_is_finished_by_the_next_without_the_source(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(module, step, failing(Unavailable("power cut")))
        assert desk.attempt().state is State.QUEUED
    desk.source.unlink()
    assert desk.attempt().state is State.DONE
    assert len(desk.results) == 1


def test_a_name_that_is_taken_meanwhile_is_chosen_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = publish

    def somebody_is_faster(result: Path, outbox: Path, publication: Any, **rest: Any) -> Path:
        name = publication.below(outbox)
        if not name.name.count("(2)"):
            name.parent.mkdir(exist_ok=True)
            name.write_text("mine")
        return real(result, outbox, publication, **rest)

    monkeypatch.setattr(module, "publish", somebody_is_faster)
    job = desk.attempt()
    assert job.state is State.DONE and b"(2)" in job.result
    assert b"mine" in desk.results.values() and len(desk.results) == 2


def test_a_taken_name_skips_the_file_where_the_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, monkeypatch, conflict="skip")
    suffix = desk.toy.plan(desk.source).result_suffix
    (desk.outbox / "a").mkdir()
    (desk.outbox / "a" / f"film{suffix}").write_text("mine")
    job = desk.attempt()
    assert job.state is State.SKIPPED and "conflict is skip" in job.reason
    assert list(desk.results.values()) == [b"mine"]


@pytest.mark.parametrize(("wish", "state"), [("cancel", State.CANCELLED), ("hold", State.HELD)])
def test_a_wish_that_comes_while_the_run_ends_for_another_cause_is_not_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, wish: str, state: State
) -> None:
    def outage(*_: object) -> Any:
        assert desk.journal.ask(1, wish)
        raise Unavailable("cuda:0: gone")

    monkeypatch.setattr(module, "run", outage)
    job = desk.attempt()
    assert (job.state, job.reason) == (state, f"asked to {wish}")


@pytest.mark.parametrize(("wish", "state"), [("cancel", State.CANCELLED), ("hold", State.HELD)])
def test_a_wish_that_comes_when_all_is_made_keeps_it_from_being_published(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, wish: str, state: State
) -> None:
    def wish_at_the_end(*arguments: Any) -> Any:
        made = run(*arguments)
        assert desk.journal.ask(1, wish)
        return made

    with monkeypatch.context() as late:
        late.setattr(module, "run", wish_at_the_end)
        job = desk.attempt()
    assert job.state is state and job.reason.startswith(f"asked to {wish}") and desk.results == {}
    desk.journal.move(1, State.QUEUED, "", now=3.0)
    assert desk.attempt().state is State.DONE


def test_options_that_the_folder_does_not_allow_any_more_are_named_and_no_bug(desk: Desk) -> None:
    with desk.journal._transaction():
        desk.journal._sql.execute("""UPDATE jobs SET options = '{"scal": 4}'""")
    job = desk.attempt()
    assert job.state is State.QUARANTINED and "scal: unknown key; did you mean scale?" in job.reason


def test_a_file_refused_for_its_sidecar_and_tried_again_is_not_run_without_it(desk: Desk) -> None:
    sidecar = desk.source.with_name("film.mkv.yaml")
    sidecar.write_text("scal: 4\n")
    desk.journal.note(1, sidecar="8-1")
    job = desk.attempt()
    assert job.state is State.QUARANTINED and job.reason.startswith("film.mkv.yaml: scal: unknown key")
    sidecar.unlink()
    desk.journal.retry(1, now=3.0)
    assert desk.attempt().state is State.DONE


def test_a_result_that_was_placed_before_its_work_was_lost_keeps_its_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(module, "settle_original", failing(Unavailable("power cut")))
        assert desk.attempt().state is State.QUEUED
    before = desk.results
    shutil.rmtree(desk.work)
    assert desk.attempt().state is State.DONE
    assert desk.results == before and len(before) == 1


# -- a result of several files ----------------------------------------------------------------------------------------


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose pipeline makes two files of `a/film.mkv`, which holds two pages of text."""
    desk = Desk(tmp_path, monkeypatch)
    desk.toy = toys.Read(bundle=True)
    stat = desk.source.stat()
    desk.source.write_bytes(b"one two\fthree".ljust(50))
    os.utime(desk.source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return desk


def test_all_files_of_a_result_are_published_recorded_and_reported(reading: Desk) -> None:
    job = reading.attempt()
    assert (job.state, job.result) == (State.DONE, b"a/film.txt")
    assert reading.results == {"a/film.txt": b"eno owt\feerht", "a/film.json": b'[["eno", "owt"],["eerht"]]'}
    ((name, size, sha256),) = job.companions
    assert (name, size) == ("a/film.json", len(reading.results["a/film.json"]))
    report = json.loads(next((reading.config.state / "reports").rglob("*.json")).read_text())
    assert report["companions"] == [{"path": name, "size_bytes": size, "sha256": sha256}]


def test_files_of_a_result_that_a_crash_parted_are_together_after_the_next_attempt(
    reading: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(result: Path, outbox: Path, publication: Any, **rest: Any) -> Path:
        publish(result, outbox, publication, **rest)
        publication.below(outbox).unlink()  # the last to get its name
        raise Unavailable("power cut")

    with monkeypatch.context() as broken:
        broken.setattr(module, "publish", cut_off)
        assert reading.attempt().state is State.QUEUED
    assert set(reading.results) == {"a/film.json"}
    reading.source.unlink()
    assert reading.attempt().state is State.DONE
    assert set(reading.results) == {"a/film.json", "a/film.txt"}


def test_a_job_that_failed_while_its_files_were_parted_joins_them_when_it_is_tried_again(
    reading: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(result: Path, outbox: Path, publication: Any, **rest: Any) -> Path:
        publish(result, outbox, publication, **rest)
        (outbox / "a/film.txt").unlink()
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(module, "publish", cut_off)
        assert reading.attempt().state is State.FAILED
    reading.journal.retry(1, now=3.0)
    assert reading.attempt().state is State.DONE
    assert set(reading.results) == {"a/film.json", "a/film.txt"}


def test_a_name_that_one_file_lost_is_given_up_for_all(reading: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def somebody_is_faster(result: Path, outbox: Path, publication: Any, **rest: Any) -> Path:
        (outbox / "a").mkdir(exist_ok=True)
        (outbox / "a/film.txt").write_text("mine")
        return publish(result, outbox, publication, **rest)

    monkeypatch.setattr(module, "publish", somebody_is_faster)
    assert reading.attempt().state is State.DONE
    assert set(reading.results) == {"a/film.txt", "a/film (2).json", "a/film (2).txt"}
    assert reading.results["a/film.txt"] == b"mine"


# -- prompts and batches ----------------------------------------------------------------------------------------------


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose pipeline needs a prompt, which its job has not."""
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    desk = Desk(tmp_path, monkeypatch, pipeline="paint")
    with desk.journal._transaction():
        desk.journal._sql.execute("UPDATE jobs SET pipeline = 'paint'")
    return desk


def test_a_job_that_has_no_prompt_any_more_is_held_with_its_work_and_not_run(studio: Desk) -> None:
    studio.toy = None
    (studio.work / "plan").mkdir(parents=True)
    job = studio.attempt()
    assert (job.state, job.lacks, job.reason) == (State.HELD, "prompt", "waiting for film.txt or film.yaml")
    assert (studio.work / "plan").exists()


def test_a_job_refused_for_its_sidecar_and_retried_is_held_if_that_says_nothing_of_a_prompt_now(studio: Desk) -> None:
    sidecar = studio.source.with_name("film.yaml")
    sidecar.write_text("strokes: 0")
    studio.journal.note(1, sidecar="10-1")
    assert studio.attempt().reason == "film.yaml: strokes: expected 1 to 100, got 0; mend the sidecar or remove it"
    sidecar.write_text("strokes: 5")
    studio.journal.retry(1, now=3.0)
    assert studio.attempt().reason == "waiting for `prompt` in film.yaml"


def test_a_result_that_is_recorded_is_published_though_the_prompt_of_the_folder_is_gone(
    studio: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with studio.journal._transaction():
        studio.journal._sql.execute("""UPDATE jobs SET options = '{"prompt": "x"}'""")
    with monkeypatch.context() as broken:
        broken.setattr(module, "publish", failing(Unavailable("power cut")))
        assert studio.attempt().state is State.QUEUED
    with studio.journal._transaction():
        studio.journal._sql.execute("UPDATE jobs SET options = '{}'")
    assert studio.attempt().state is State.DONE


@pytest.mark.parametrize("policy", ["number", "replace", "skip"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_jobs_of_one_file_get_names_in_the_order_of_their_list_and_the_last_settles_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, order: Sequence[int]
) -> None:
    desk = Desk(tmp_path, monkeypatch, conflict=policy, originals="delete")
    one = desk.journal.job(1)
    desk.journal.move(1, State.CANCELLED, "", now=1.0)
    new = NewJob(folder="films", pipeline="upscale", path=one.path, signature=one.signature, content="c")
    numbers = desk.journal.enqueue([replace(new, take=take, priority=-order.index(take)) for take in range(3)], 1.0)
    for take in order:
        assert desk.source.exists()
        job = desk.attempt()
        assert (job.take, job.state) == (take, State.DONE)
    assert not desk.source.exists()
    assert [desk.journal.job(number).result for number in numbers] == [
        *(b"a/film.bin", b"a/film (2).bin", b"a/film (3).bin")
    ]
