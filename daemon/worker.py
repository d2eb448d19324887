"""The child process that owns one device: it is given jobs, one at a time."""

import gc
import logging
import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from darkroom import pipelines
from darkroom.daemon import log as logs
from darkroom.daemon.attempt import DeviceGone, attempt, site
from darkroom.daemon.config import Config, Folder, options_for
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.wire import DEVICE_GONE, DRAIN, TRY_LATER, Wire
from darkroom.pipelines.base import Preloads, Site
from darkroom.pipelines.child import die_with
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)

OOM_SCORE = 500  # of 1000, proc_pid_oom_score_adj(5): the kernel takes the worker before the daemon, and is outlived


def preload(config: Config, device: str, pipe: Connection) -> None:
    """Load the models that the folders ask for; the folder of the highest priority last, for one may drive out another.

    A job that is waiting ends it: that loads what it needs. What cannot be loaded is said now, and by the job again.
    """
    for folder in sorted(config.folders, key=lambda folder: folder.priority):
        if pipe.poll():
            return
        _tell(pipe, stage=f"loading the model of {folder.name}")
        _tell(pipe, stage="", what=_ready(folder, site(config, device)))


def _ready(folder: Folder, where: Site) -> str:
    try:
        pipeline = pipelines.make(folder.pipeline, options_for(folder, {}), where)
        if not isinstance(pipeline, Preloads):
            return ""
        what = pipeline.preload()
    except Exception as error:  # of any kind: a worker without a model can still say so for each job
        expected = isinstance(error, Unavailable)
        log.warning("%s: its model cannot be loaded ahead: %s", folder.name, error, exc_info=not expected)
        return ""
    log.info("%s: ready with %s", folder.name, what)
    return what


def _tell(pipe: Connection, **words: str) -> None:
    with suppress(OSError):  # a supervisor that is gone is noticed at the next word of its own
        pipe.send(words)


def serve(config: Config, device: str, pipe: Connection) -> None:
    """Run each job that comes over `pipe`, until it closes or the supervisor wishes the worker to go."""
    if config.worker.preload:
        preload(config, device, pipe)
    with Journal(config.state / FILE) as journal:
        while True:
            try:
                message = pipe.recv()
            except (EOFError, ConnectionResetError):  # the supervisor went, perhaps without having heard all
                return
            if message.get("wish") == DRAIN:
                return
            if "claimed" not in message:
                continue  # a wish that comes too late: its job is over
            wire = Wire(pipe, journal.job(message["claimed"]))
            attempt(wire.job, config=config, journal=journal, device=device, wire=wire)
            gc.collect()
            wire.ended()
            if wire.wish == DRAIN:
                return


def main(arguments: list[str]) -> None:
    """Start as a child of the supervisor: `worker.py CONFIG DEVICE PIPE_FD PARENT_PID`.

    The first message is the configuration in force; its file may have been edited since.
    """
    _, device, fd, parent = arguments
    die_with(int(parent), "supervisor")
    with suppress(OSError):  # a /proc that cannot be written to
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    with Connection(int(fd)) as pipe:
        try:
            config: Config = pipe.recv()["config"]
        except EOFError:
            return  # seen off before it began
        logs.set_up(config.log)
        os.umask(int(config.umask, 8))
        if config.worker.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(config.worker.threads)  # read by torch, which is not imported yet
        try:
            serve(config, device, pipe)
        except Unavailable as error:  # only the journal's are not answered on the way
            log.error("%s", error)
            sys.exit(TRY_LATER)
        except DeviceGone:
            os._exit(DEVICE_GONE)  # an orderly end would ask the device to tidy up, and fall over it


if __name__ == "__main__":
    main(sys.argv[1:])
