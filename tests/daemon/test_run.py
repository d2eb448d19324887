import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from toys import Blur, Read, Settle

from darkroom.daemon import parts as parts_module
from darkroom.daemon.parts import DRAFT
from darkroom.daemon.run import run
from darkroom.pipelines.base import Plan, Segment, Tick
from darkroom.pipelines.errors import Rejected, Stopped

TOYS: list[Blur | Settle | Read] = [Blur(), Settle(), Read(), Read(bundle=True)]
NAMES = ["Blur", "Settle", "Read", "Read as a bundle"]
SOURCE = b"one two three\fand four\f\fsix seven, the last page"

each_toy = pytest.mark.parametrize("toy", TOYS, ids=NAMES)


class Witness:
    """Hears how a job goes on, and stops it at the tick, stage or segment asked for."""

    def __init__(self, stop_at: int = 0) -> None:
        self.ticks: list[int] = []
        self.stages: list[str] = []
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.missing: list[int] = []
        self._stop_at = stop_at
        self._heard = 0

    @property
    def tick(self) -> Tick:
        return self._tick

    def stage(self, stage: str) -> None:
        self.stages.append(stage)
        self._hear()

    def planned(self, plan: Plan, missing: Sequence[Segment]) -> None:
        self.missing = [segment.index for segment in missing]

    def segment(self, segment: Segment) -> None:
        self.begun.append(segment.index)
        self._hear()

    def part(self, segment: Segment, seconds: float) -> None:
        self.finished.append(segment.index)

    def _tick(self, done: int) -> None:
        self.ticks.append(done)
        self._hear()

    def _hear(self) -> None:
        self._heard += 1
        if self._heard == self._stop_at:
            raise Stopped("asked to")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_bytes(SOURCE)
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def go(toy: Blur | Settle | Read, source: Path, work: Path, witness: Witness | None = None) -> bytes:
    """Run the toy and return the bytes of its result; of several files, those of all with their names."""
    work.mkdir(exist_ok=True)
    result = run(toy, source, work, type(toy).__name__, witness or Witness())[1]
    if not result.is_dir():
        return result.read_bytes()
    return b"\0".join(part for file in sorted(result.iterdir()) for part in (file.name.encode(), file.read_bytes()))


def drafts(work: Path) -> list[Path]:
    return list(work.rglob(f"*{DRAFT}*"))


# -- undisturbed -----------------------------------------------------------------------------------------------------


def test_the_result_is_what_the_pipeline_says(source: Path, work: Path) -> None:
    assert go(Read(), source, work) == b"eno owt eerht\fdna ruof\f\fxis ,neves eht tsal egap"


@each_toy
def test_a_job_tells_its_whole_way(toy: Blur | Settle | Read, source: Path, work: Path) -> None:
    witness = Witness()
    plan, result = run(toy, source, work, "toy", witness)
    assert witness.stages == ["reading the source", "loading the model", "joining"]
    assert witness.missing == witness.begun == witness.finished == [segment.index for segment in plan.segments]
    assert witness.ticks == list(range(1, plan.units + 1))
    assert result.parent.parent == work


@pytest.mark.parametrize("size", [3, 4, 12])
def test_a_carried_solver_state_makes_the_result_independent_of_the_segments(
    size: int, source: Path, tmp_path: Path
) -> None:
    whole = go(Settle(size=12), source, tmp_path / "whole")
    assert go(Settle(size=size), source, tmp_path / "cut") == whole
    assert (go(Settle(size=size, forgetful=True), source, tmp_path / "bad") == whole) == (size == 12)


@pytest.mark.parametrize(("lead_in", "seamless"), [(3, True), (4, True), (2, False), (0, False)])
def test_a_lead_in_shorter_than_the_models_memory_shows_at_the_seam(
    lead_in: int, seamless: bool, source: Path, tmp_path: Path
) -> None:
    whole = go(Blur(size=1000), source, tmp_path / "whole")
    assert (go(Blur(lead_in=lead_in), source, tmp_path / "cut") == whole) == seamless


def test_a_rejected_source_leaves_nothing(tmp_path: Path, work: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(Rejected, match="empty"):
        go(Read(), tmp_path / "empty", work)
    assert not list(work.iterdir())


# -- stopped and resumed ---------------------------------------------------------------------------------------------


@each_toy
def test_a_job_stopped_anywhere_goes_on_to_the_same_bytes(
    toy: Blur | Settle | Read, source: Path, tmp_path: Path
) -> None:
    expected = go(toy, source, tmp_path / "whole")
    for stop_at in count(1):
        first, second, work = Witness(stop_at), Witness(), tmp_path / f"stopped{stop_at}"
        try:
            go(toy, source, work, first)
        except Stopped:
            assert not drafts(work)
            assert go(toy, source, work, second) == expected
            assert not set(first.finished) & set(second.begun), "a finished segment was done again"
        else:
            break
    assert stop_at > len(first.ticks) + len(first.begun), "not every tick and segment was a place to stop"


@each_toy
def test_a_job_stopped_at_every_other_step_still_ends(toy: Blur | Settle | Read, source: Path, tmp_path: Path) -> None:
    expected = go(toy, source, tmp_path / "whole")
    longest = 2 + 1 + max(segment.length for segment in toy.plan(source).segments)  # two stages, a segment, its ticks
    for attempt in range(100):
        try:
            assert go(toy, source, tmp_path / "work", Witness(longest + 1)) == expected
        except Stopped:
            continue
        assert attempt > 1
        return
    pytest.fail("it never ended")


@each_toy
def test_a_finished_result_is_taken_as_it_is(toy: Blur | Settle | Read, source: Path, work: Path) -> None:
    expected, witness = go(toy, source, work), Witness()
    assert go(toy, source, work, witness) == expected
    assert witness.stages == ["reading the source"] and not witness.begun


@each_toy
def test_missing_parts_in_the_middle_are_made_again(toy: Blur | Settle | Read, source: Path, work: Path) -> None:
    expected, witness = go(toy, source, work), Witness()
    (folder,) = work.iterdir()
    result = next(folder.glob("result.*"))
    shutil.rmtree(result) if result.is_dir() else result.unlink()
    next(folder.glob("000001*")).unlink()
    assert go(toy, source, work, witness) == expected
    assert witness.begun == [1]


# -- another plan ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [Blur(size=4), Blur(lead_in=2)], ids=["segments", "setting"])
def test_other_settings_start_afresh_and_drop_the_old_parts(other: Blur, source: Path, work: Path) -> None:
    with pytest.raises(Stopped):
        go(Blur(), source, work, Witness(20))
    (before,) = work.iterdir()
    witness = Witness()
    go(other, source, work, witness)
    assert witness.begun == witness.missing == list(range(len(other.plan(source).segments)))
    assert before not in work.iterdir() and len(list(work.iterdir())) == 1


def test_a_changed_source_starts_afresh(source: Path, work: Path) -> None:
    go(Read(), source, work)
    source.write_bytes(SOURCE.replace(b"four", b"FOUR"))
    assert b"RUOF" in go(Read(), source, work)


def test_files_beside_the_parts_stay_when_another_plan_begins(source: Path, work: Path) -> None:
    (work / "made.json").write_text("{}")
    go(Blur(), source, work)
    go(Blur(size=7), source, work)
    assert (work / "made.json").exists()


# -- killed ----------------------------------------------------------------------------------------------------------


def in_a_child(job: Callable[[], object]) -> int:
    """Run `job` in a forked child and return its wait status: 0 if it came to its end."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        job()
        status = 0
    finally:
        os._exit(status)


class Executioner:
    """Kills its own process at the place number `at`; places are told by the toys, by fsync and by rename."""

    def __init__(self, at: int, seen: Path) -> None:
        self._at = at
        self._count = 0
        self._seen = seen

    def __call__(self, where: str) -> None:
        self._count += 1
        if self._count == self._at:
            self._seen.write_text(where)
            os.kill(os.getpid(), signal.SIGKILL)

    def surround(self, owner: object, name: str) -> None:
        """Let the calls of `owner.name` be places, before and after."""
        original = getattr(owner, name)

        def call(*arguments: object) -> object:
            self(f"before {name}")
            result = original(*arguments)
            self(f"after {name}")
            return result

        setattr(owner, name, call)


def killed_at(at: int, toy: Blur | Settle | Read, source: Path, work: Path, seen: Path) -> int:
    executioner = Executioner(at, seen)

    def job() -> None:
        executioner.surround(parts_module, "_sync")
        executioner.surround(Path, "replace")
        go(replace(toy, watch=executioner), source, work)

    return in_a_child(job)


def made(work: Path) -> dict[str, int]:
    """Return when each finished part was written; the folder of the plan may begin with a 0 as well."""
    parts = (path for path in work.rglob("0000*") if path.is_file() and DRAFT not in path.name)
    return {path.name: path.stat().st_mtime_ns for path in parts}


@each_toy
def test_a_job_killed_anywhere_goes_on_to_the_same_bytes(
    toy: Blur | Settle | Read, source: Path, tmp_path: Path
) -> None:
    expected, places = go(toy, source, tmp_path / "whole"), []
    for at in count(1):
        work, seen = tmp_path / f"killed{at}", tmp_path / "seen"
        status = killed_at(at, toy, source, work, seen)
        if status == 0:
            break
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        places.append(seen.read_text())
        there = made(work)
        assert go(toy, source, work) == expected, f"killed {places[-1]}"
        assert not drafts(work)
        assert there.items() <= made(work).items(), "a finished part was made again"
    kinds = {"within 000001", "before _sync", "after _sync", "before replace", "after replace"}
    kinds |= {"within 0.txt", "after 1.json"} if toy == Read(bundle=True) else {"within result"}
    assert len(places) > 30 and all(any(place.startswith(kind) for place in places) for kind in kinds)


def test_a_job_killed_again_and_again_ends_all_the_same(source: Path, tmp_path: Path) -> None:
    expected, work = go(Blur(), source, tmp_path / "whole"), tmp_path / "work"
    kills = 0
    while killed_at(16, Blur(), source, work, tmp_path / "seen"):
        kills += 1
        assert kills < 100
    assert kills > 2 and go(Blur(), source, work) == expected
