"""Whatever happens, in whatever order: each version of each file that settled ends as one thing, with its reason.

Hypothesis writes the stories, the model house lives them, and the ledger compares. More of them, another each time:
DARKROOM_STORIES=1000 pytest tests/test_promises.py
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from interruptions import Event, disk_broken, disk_full
from ledger import NOTES, PROMPTS, Ledger
from model_house import RETRY_S, SETTLE_S, ModelHouse

STORIES = int(os.environ.get("DARKROOM_STORIES", "0"))
QUICK = Path("/dev/shm")  # files in memory, where there is a place for them: nobody cuts the power of a test

LOOK_STEPS, WORK_STEPS = 16, 70  # a few more than there are places to be killed at
Act = tuple[str, tuple[Any, ...]]
Film = tuple[bytes, bytes, tuple[bytes, bytes] | None]  # path, content, and what is written beside it

SOURCES = (b"a.jpg", b"a.png", b"sub/a.jpg", b"a.jpg.part")
contents = st.sampled_from([b"one", b"two", b"three"] * 3 + [b"", b"faulty", b"buggy", b"lacking", b"deadly"])
sources = st.sampled_from(SOURCES)
notes = st.one_of(
    st.tuples(st.sampled_from([b"a.jpg.yaml", b"a.yaml", b"sub/a.jpg.yaml"]), st.sampled_from(sorted(NOTES))),
    st.tuples(st.sampled_from([b"a.txt"]), st.sampled_from(sorted(PROMPTS))),
)
films = st.tuples(sources, contents, st.none() | notes)
good_films = st.tuples(st.sampled_from(SOURCES[:3]), st.sampled_from([b"one", b"two", b"three"]), st.none() | notes)
any_file = st.one_of(sources, notes.map(lambda note: note[0]))
mounts = st.sampled_from(["inbox", "outbox", "originals"])
troubles = st.sampled_from([disk_full, disk_broken])
seconds = st.sampled_from([0.5, SETTLE_S, 2 * SETTLE_S, RETRY_S + 1])
clock_steps = st.sampled_from([3600.0, -3600.0, 20 * 365 * 86400.0, -20 * 365 * 86400.0])
moments = st.integers(0, WORK_STEPS // 2) | st.integers(0, 2 * WORK_STEPS)  # most readings come first
wishes = st.sampled_from(["cancel", "hold", "release", "retry"])
FILE_ACTS: dict[str, st.SearchStrategy[Any]] = {
    "put": st.one_of(
        st.tuples(sources, contents, st.booleans()),
        st.tuples(notes, st.booleans()).map(lambda note: (*note[0], note[1])),
    ),
    "append": st.tuples(sources, st.sampled_from([b"!", b" more"])),
    "copy": st.tuples(sources, sources),
    "rename": st.tuples(sources, sources),
    "delete": st.tuples(any_file),
    "touch": st.tuples(any_file),
    "hold_open": st.tuples(sources),
    "let_go": st.tuples(sources),
    "unmount": st.tuples(mounts),
    "mount": st.tuples(mounts),
    "set_clock": st.tuples(clock_steps),
}
WORK_ACTS: dict[str, st.SearchStrategy[Any]] = FILE_ACTS | {
    "wish": st.tuples(wishes, st.integers(0, 5)),
    "look": st.just(()),
    "work": st.just(()),
    "drain": st.just(()),
    "hang_up": st.just(()),
}


def acts(of: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Act]:
    return st.sampled_from(sorted(of)).flatmap(lambda name: st.tuples(st.just(name), of[name]))


class Stories(RuleBasedStateMachine):
    """What people, disks and kills do to a house, one thing after the other."""

    @initialize(
        originals=st.sampled_from(["keep", "move", "delete"]),
        conflict=st.sampled_from(["number", "number", "replace", "skip"]),
        duplicates=st.sampled_from(["skip", "process"]),
        stage=st.sampled_from(["never", "always"]),
        pipeline=st.sampled_from(["stamp", "titled"]),
    )
    def begin(self, **folder: str) -> None:
        self.rooms = ExitStack()
        root = tempfile.TemporaryDirectory(prefix="house-", dir=QUICK if os.access(QUICK, os.W_OK) else None)
        self.house = ModelHouse(Path(self.rooms.enter_context(root)), **folder)
        self.ledger = Ledger(self.house)

    @rule(film=films)
    def a_film_settles(self, film: Film) -> None:
        self._bring(film)

    @rule(act=acts(FILE_ACTS))
    def somebody_acts(self, act: Act) -> None:
        getattr(self.house, act[0])(*act[1])

    @rule()
    def everything_is_mounted(self) -> None:
        for name in sorted(self.house.offline):
            self.house.mount(name)

    @rule(verb=wishes, which=st.integers(0, 5))
    def somebody_wishes(self, verb: str, which: int) -> None:
        self.house.wish(verb, which)

    @rule(seconds=seconds)
    def time_passes(self, seconds: float) -> None:
        self.house.look()
        self.house.wait(seconds)
        self.house.look()

    @rule()
    def the_worker_works(self) -> None:
        self.house.work()

    @rule()
    def the_day_ends(self) -> None:
        self.house.restart()
        self.ledger.check()
        self.house.clear_up()
        self.ledger.forget()

    @rule(step=st.integers(0, LOOK_STEPS), verb=st.sampled_from(["look", "restart"]))
    def the_daemon_is_killed(self, step: int, verb: str) -> None:
        self.house.killed(verb, step, daemon=True)
        self.house.look()

    @rule(film=good_films, step=st.integers(0, WORK_STEPS), daemon=st.booleans())
    def the_worker_is_killed(self, film: Film, step: int, daemon: bool) -> None:
        self._find_work(film)
        self.house.killed("work", step, daemon)
        self.house.look()

    @rule(step=st.integers(0, LOOK_STEPS), trouble=troubles, lasting=st.booleans())
    def the_daemon_has_trouble_with_its_disk(self, step: int, trouble: Event, lasting: bool) -> None:
        self.house.troubled("look", step, trouble, lasting)
        self.house.look()

    @rule(film=good_films, step=st.integers(0, WORK_STEPS // 2), trouble=troubles, lasting=st.booleans())
    def the_worker_has_trouble_with_its_disk(self, film: Film, step: int, trouble: Event, lasting: bool) -> None:
        self._find_work(film)
        self.house.troubled("work", step, trouble, lasting)

    @rule(step=st.integers(0, 2 * LOOK_STEPS), act=acts(FILE_ACTS))
    def somebody_acts_during_a_look(self, step: int, act: Act) -> None:
        self.house.meanwhile("look", step, *act)

    @rule(film=good_films, step=moments, act=acts(WORK_ACTS))
    def somebody_acts_during_work(self, film: Film, step: int, act: Act) -> None:
        self._find_work(film)
        self.house.meanwhile("work", step, *act)

    @rule(film=good_films, step=moments, content=contents, at_once=st.booleans())
    def the_film_is_replaced_during_work(self, film: Film, step: int, content: bytes, at_once: bool) -> None:
        self._find_work(film)
        for job in self.house.journal.next_jobs(1):
            self.house.meanwhile("work", step, "put", (job.path, content, at_once))

    def _bring(self, film: Film) -> None:
        path, content, note = film
        if note is not None:
            self.house.put(*note, at_once=False)
        self.house.put(path, content, at_once=True)
        self.house.settle()
        self.ledger.check()

    def _find_work(self, film: Film) -> None:
        """Have something to do: a story in which nothing happens is none."""
        self.everything_is_mounted()
        self.house.look()
        path, content, note = film
        if not any(job.not_before <= self.house.clocks.since_boot for job in self.house.journal.next_jobs(9)):
            self._bring((path, content, note or (path[:-4] + b".txt", b"sea\n")))  # what needs a title has one

    @invariant()
    def all_promises_are_kept(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.check()

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        with self.rooms:
            try:
                self.house.settle_down()
                self.ledger.check_end()
            finally:
                self.house.close()


def test_whatever_happens_each_settled_version_ends_as_one_thing_and_nothing_is_lost() -> None:
    profile = settings(
        derandomize=not STORIES,
        max_examples=STORIES or 50,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Stories, settings=profile)
