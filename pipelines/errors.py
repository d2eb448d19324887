"""The three errors, one for each thing the daemon can do about them.

A message names the thing, the fact and the remedy, in one line. Anything else that is raised is a
bug: its traceback goes to the log, the job fails, the daemon goes on.
"""


class DarkroomError(Exception):
    """An outcome the daemon knows how to answer."""


class Rejected(DarkroomError):
    """The file's fault: quarantined with its reason, tried again only when the file changes."""


class Unavailable(DarkroomError):
    """The machine's fault (disk, device, weights, network): tried again with growing delays, a few times.

    patient: it is not for this machine to mend, as with a server elsewhere: waited for as long as it takes.
    """

    def __init__(self, message: object = "", *, patient: bool = False) -> None:
        super().__init__(message)
        self.patient = patient


class Stopped(DarkroomError):
    """Nobody's fault (drain, cancel): everything stays as it is, for the next run to go on from."""
