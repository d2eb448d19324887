"""The places at which a crash is rehearsed: before and after each step on the disk and each commit of the journal.

Nothing happens there. Each is told to Python's audit hooks (sys.addaudithook) as the event `darkroom.<point>`; a
rehearsal hooks in and ends the process, or cuts the power, at the pass it chooses. tests/FAULTS.md says what must hold.
"""

import sys
from enum import StrEnum


class CrashPoint(StrEnum):
    """A place between two steps, of which a crash leaves the first done and the second not."""

    # Journal: one transaction.
    COMMIT_DUE = "journal.commit-due"
    COMMITTED = "journal.committed"

    # Parts, results and staged sources in the work folder, and small files in the state folder.
    DRAFT_WRITTEN = "atomic.draft-written"
    DRAFT_SYNCED = "atomic.draft-synced"
    DRAFT_NAMED = "atomic.draft-named"
    NAME_SYNCED = "atomic.name-synced"

    # Outboxes, originals and reports: files placed below another root.
    PLACE_FOLDER_MADE = "place.folder-made"
    PLACE_DRAFT_MADE = "place.draft-made"
    PLACE_DRAFT_WRITTEN = "place.draft-written"
    PLACE_DRAFT_SYNCED = "place.draft-synced"
    PLACE_LINKED = "place.linked"  # where a file cannot be renamed without replacing: it has both names
    PLACE_CLAIMED = "place.claimed"  # where it cannot be linked either: the claim is there, the name is not held
    PLACE_HELD = "place.held"  # an empty file holds the name
    PLACE_NAMED = "place.named"
    PLACE_NAME_SYNCED = "place.name-synced"
    PLACE_WITHDRAWN = "place.withdrawn"  # one of several files, for another could not get its name
    PLACE_DRAFT_GONE = "place.draft-gone"

    # The source of a published job.
    ORIGINAL_DUE = "original.due"
    ORIGINAL_COPIED = "original.copied"  # to another file system, and still in the inbox
    ORIGINAL_GONE = "original.gone"  # from the inbox
    ORIGINAL_SYNCED = "original.synced"

    # The work folder of a job.
    WORK_MADE = "work.made"
    WORK_DUE = "work.due"  # to be removed
    WORK_REMOVED = "work.removed"

    # The daemon's start.
    RECOVERY_BEGUN = "recovery.begun"
    RECOVERY_ENDED = "recovery.ended"
    MARKER_WRITTEN = "marker.written"
    MARKER_NAMED = "marker.named"
    JOURNAL_ASIDE = "backup.journal-aside"  # a damaged one, or one of the files beside it

    # Clearing up.
    REMOVAL_DUE = "retention.due"
    REMOVED = "retention.removed"


def reach(point: CrashPoint) -> None:
    """Pass `point`."""
    sys.audit(f"darkroom.{point}")
