"""The devices that workers own, and a circuit breaker for each: jobs that fall in a row tell of it, not of their files.

A device at fault is put on hold in the journal, and the others go on. With none left, everything is on hold.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from darkroom.daemon.journal import EVERYTHING, Journal
from darkroom.daemon.states import State

log = logging.getLogger(__name__)

FAILING_AFTER = 3  # different jobs in a row whose worker fell: it is the device, not the files
SCOPE = "device "  # a hold whose scope begins so is one of a device; no folder's name has a space


def devices(wanted: Sequence[str]) -> list[str]:
    """Return the devices to use; `auto` is the first GPU, or the CPU. Torch is not asked: it is the worker's."""
    automatic = "cuda:0" if Path("/dev/nvidia0").exists() else "cpu"
    return list(dict.fromkeys(automatic if device == "auto" else device for device in wanted))


def on_hold(holds: Mapping[str, str], owned: Sequence[str]) -> dict[str, str]:
    """Return why each of the `owned` devices that are on hold is so; holds: reasons by scope."""
    return {device: holds[SCOPE + device] for device in owned if SCOPE + device in holds}


def with_devices(holds: Mapping[str, str], owned: Sequence[str]) -> dict[str, str]:
    """Return `holds` as folders see them: where all `owned` devices are on hold, EVERYTHING is."""
    resting = on_hold(holds, owned)
    return ({EVERYTHING: resting[owned[-1]]} if len(resting) == len(owned) else {}) | dict(holds)


class CircuitBreakers:
    """What became of the last jobs on each device of a running daemon."""

    def __init__(self, journal: Journal) -> None:
        """Know of no job yet; the holds are those of `journal`."""
        self._journal = journal
        self._fallen: dict[str, list[int]] = {}  # by device: different jobs whose worker fell, since one was done

    def close(self, device: str) -> None:
        """Note that a job was done on `device`."""
        self._fallen.pop(device, None)

    def strain(self, device: str, number: int, how: str, *, now: float) -> None:
        """Note that job `number` fell on `device`, and `how`; after some in a row, put that on hold.

        Those jobs are to be tried again: not each of the files can be at fault.
        """
        before = self._fallen.get(device, [])
        fallen = self._fallen[device] = [*(seen for seen in before if seen != number), number]
        if len(fallen) < FAILING_AFTER:
            return
        last = f"{FAILING_AFTER} jobs in a row ended the worker on {device}, and last {how}"
        reason = f"{last}; when device and memory are well: darkroom release --all"
        self._journal.hold(SCOPE + device, reason, now=now)
        log.error("%s: on hold: %s", device, reason)
        for seen in fallen:
            if (state := self._journal.job(seen).state) in (State.QUARANTINED, State.FAILED):
                self._journal.retry(seen, now=now)
            elif state is State.QUEUED:
                self._journal.note(seen, failures=0, not_before=0)
        del self._fallen[device]
