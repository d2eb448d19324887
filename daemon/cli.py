"""The command `darkroom`: reads the journal itself and asks for things through it, daemon up or down."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live as Screen

from darkroom import __version__
from darkroom.daemon import models, setup, view, wishes
from darkroom.daemon.backup import open_or_recover
from darkroom.daemon.clock import this_boot, unix_now
from darkroom.daemon.config import Config
from darkroom.daemon.ending import (
    EPILOG,
    FAULTY,
    LEFT,
    OK,
    PLACES,
    UNAVAILABLE,
    UNKNOWN,
    USAGE,
    AsJson,
    Asked,
    Commands,
    Unknown,
    console,
    folder_of,
    leave,
    print_json,
    say,
)
from darkroom.daemon.filesystem import MOUNTINFO, mount_at, parse_mounts
from darkroom.daemon.job import Job
from darkroom.daemon.journal import EVERYTHING, FILE, Journal
from darkroom.daemon.lock import take_lock
from darkroom.daemon.log import set_up
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.marker import load_identities
from darkroom.daemon.retention import prune
from darkroom.daemon.states import IllegalMove, State
from darkroom.daemon.status import (
    job_status_values,
    job_values,
    journal_of,
    picture_of,
    status_values,
    take_job_status,
    take_status,
)

WATCH_S = 1.0

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models.app, name="models")

Numbers = Annotated[list[int] | None, typer.Argument(metavar="JOB...", help="numbers of jobs", show_default=False)]
Name = Annotated[str | None, typer.Option("--folder", metavar="NAME", help="of this folder of the configuration")]
All = Annotated[bool, typer.Option("--all", help="everything, whatever its folder")]


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no crash
    app()


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"darkroom {__version__}")
        raise typer.Exit


@app.callback()
def _darkroom(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            readable=False,  # not asked by typer, which would call it a wrong command
            envvar="DARKROOM_CONFIG",
            help=f"configuration; else the first of {', '.join(PLACES)}",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="say the version and end")
    ] = False,
) -> None:
    """Drop a film in; get it back developed."""
    ctx.obj = Asked(config)


@app.command()
def run(
    ctx: typer.Context,
    drain: Annotated[bool, typer.Option("--drain", help="end when nothing is left that can be done now")] = False,
) -> None:
    """Watch the inboxes and work, until a stop signal comes."""
    from darkroom.daemon.supervisor import Supervisor  # watchdog and apscheduler: no other command waits for them

    asked: Asked = ctx.obj
    config = asked.load()
    set_up(config.log)
    config.state.mkdir(parents=True, exist_ok=True)
    handle = take_lock(config.state)
    kind = mount_at(os.fsencode(config.state), parse_mounts(MOUNTINFO.read_bytes())).kind
    journal, _ = open_or_recover(config.state, kind=kind)
    with journal:
        before = journal.last_event()
        Supervisor(asked.path.absolute(), config, journal, handle).run(drain=drain)
        if drain:
            raise typer.Exit(_drained(config, journal, before))


def _drained(config: Config, journal: Journal, before: int) -> int:
    """Return the exit code of a drain that began after event `before`."""
    if {State.FAILED, State.QUARANTINED} & journal.ended_since(before).keys():
        return FAULTY
    counts, waiting = journal.counts(), (State.QUEUED, State.HELD)
    left = any((folder.name, state) in counts for folder in config.folders for state in waiting)
    away = setup.troubles(config, load_identities(config.state / IDENTITIES))
    return LEFT if left or away else OK


@app.command()
def status(
    ctx: typer.Context,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="show it anew every second, until Ctrl-C")] = False,
    everything: Annotated[bool, typer.Option("--all", help="name all waiting files")] = False,
) -> None:
    """Show what runs, what waits and why, with the daemon up or down."""
    config = ctx.obj.load()
    if as_json:
        print_json(status_values(take_status(config, datetime.now())))
        return
    terminal = console()
    if watch and not terminal.is_terminal:
        leave(USAGE, "--watch needs a terminal; without one ask again and again with --json")
    if not watch:
        terminal.print(view.status_view(take_status(config, datetime.now()), everything=everything))
        return
    with suppress(KeyboardInterrupt), Screen(console=terminal, screen=True, auto_refresh=False) as screen:
        while True:
            screen.update(view.status_view(take_status(config, datetime.now()), everything=everything), refresh=True)
            time.sleep(WATCH_S)


@app.command()
def jobs(
    ctx: typer.Context,
    states: Annotated[list[State] | None, typer.Option("--state", help="in this state; may be repeated")] = None,
    folder: Name = None,
    limit: Annotated[int, typer.Option(min=1, help="at most so many, the newest")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    config = ctx.obj.load()
    if folder is not None:
        folder_of(config, folder)
    journal = journal_of(config)
    found = journal.jobs(states=states or (), folder=folder, limit=limit, newest=True) if journal else []
    if as_json:
        print_json([job_values(job) for job in found])
    else:
        console().print(view.jobs_view(found, unix_now()))


@app.command()
def show(ctx: typer.Context, job: int, as_json: AsJson = False) -> None:
    """Show all about one job: options, tries, what happened, where its files lie."""
    config = ctx.obj.load()
    journal = journal_of(config)
    if journal is None:
        raise Unknown(f"there is no job {job}: there has been no start yet")
    found = take_job_status(config, journal, _job(journal, job))
    if as_json:
        print_json(job_status_values(found))
    else:
        console().print(view.job_view(found))


@app.command()
def add(
    ctx: typer.Context,
    file: Path,
    folder: Annotated[str, typer.Option(metavar="NAME", help="as if it were dropped in this folder's inbox")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="an option of the pipeline, for this file")
    ] = None,
) -> None:
    """Queue a file that lies anywhere; it is read where it is, and stays there."""
    config = ctx.obj.load()
    target = folder_of(config, folder)
    options = dict(wishes.read_setting(text) for text in settings or ())
    with _journal(config) as journal:
        for line in wishes.add(journal, target, config.watch, file, options, now=unix_now()):
            say(line)


@app.command()
def retry(
    ctx: typer.Context,
    numbers: Numbers = None,
    failed: Annotated[bool, typer.Option("--failed", help="all that ended failed or quarantined")] = False,
    folder: Name = None,
) -> None:
    """Queue ended jobs again; finished parts are used."""
    config = ctx.obj.load()
    if bool(numbers) == failed or (folder and not failed):
        leave(USAGE, "name jobs, or --failed (with --folder NAME if you like)")
    if folder is not None:
        folder_of(config, folder)
    with _journal(config) as journal:
        chosen = [job.id for job in wishes.faulty(journal, folder)] if failed else numbers or []
        _each(journal, chosen, lambda job: wishes.retry(journal, job, now=unix_now()))


@app.command()
def cancel(ctx: typer.Context, numbers: Annotated[list[int], typer.Argument(metavar="JOB...")]) -> None:
    """Cancel jobs that wait or run; sources stay where they are."""
    with _journal(ctx.obj.load()) as journal:
        _each(journal, numbers, lambda job: wishes.cancel(journal, job, now=unix_now()))


@app.command()
def hold(
    ctx: typer.Context,
    numbers: Numbers = None,
    folder: Name = None,
    everything: All = False,
    reason: Annotated[str, typer.Option(help="shown wherever the hold is")] = "asked to hold",
) -> None:
    """Let jobs, a folder or everything wait until they are released."""
    config = ctx.obj.load()
    scope = _scope(config, numbers, folder, everything)
    with _journal(config) as journal:
        if scope:
            say(wishes.hold_folder(journal, scope, reason, now=unix_now()))
        _each(journal, numbers or [], lambda job: wishes.hold(journal, job, reason, now=unix_now()))


@app.command()
def release(ctx: typer.Context, numbers: Numbers = None, folder: Name = None, everything: All = False) -> None:
    """Undo a hold of jobs, of a folder or of everything."""
    config = ctx.obj.load()
    scope = _scope(config, numbers, folder, everything)
    with _journal(config) as journal:
        if scope:
            say(wishes.release_folder(journal, scope))
        _each(journal, numbers or [], lambda job: wishes.release(journal, job, now=unix_now()))


@app.command()
def check(
    ctx: typer.Context,
    adopt: Annotated[str | None, typer.Option(metavar="NAME", help="accept this folder's inbox and outbox")] = None,
) -> None:
    """Check the configuration, and show what it comes to on this machine."""
    config = ctx.obj.load()
    if adopt is not None:
        setup.adopt(config, folder_of(config, adopt))
        running = picture_of(config)
        later = f"; the daemon follows at its next reload: kill -HUP {running.pid}" if running else ""
        say(f"{adopt}: inbox and outbox are accepted as they are{later}")
    identities = load_identities(config.state / IDENTITIES)
    surveys = [setup.survey(config, folder, identities) for folder in config.folders]
    console().print(view.survey_view(surveys, setup.look_at(config.state, "", {}, "")))
    if any(place.trouble for found in surveys for place in (found.inbox, found.outbox)):
        raise typer.Exit(UNAVAILABLE)
    say(f"{ctx.obj.path}: all is well")


@app.command()
def init(folder: Path) -> None:
    """Make a folder with a configuration, inboxes and outboxes, ready to run."""
    try:
        config = setup.init(folder)
    except FileExistsError as error:
        leave(USAGE, f"{error.filename}: is there already and stays as it is; name another folder")
    say(f"{config}: written; drop files in a folder of {config.parent}/inbox, then: darkroom --config '{config}' run")


@app.command(name="prune")
def _prune(
    ctx: typer.Context, dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False
) -> None:
    """Clear up by the retention rules, as the daemon does once a day."""
    config = ctx.obj.load()
    set_up(config.log)
    with _journal(config) as journal:
        removals = prune(config, journal, unix_now(), dry_run, boot=this_boot())
        console().print(view.removals_view(removals, dry_run=dry_run))


# -- what the commands share ---------------------------------------------------------------------------------------


@contextmanager
def _journal(config: Config) -> Iterator[Journal]:
    """Yield the journal for writing; made if this comes before the first start."""
    config.state.mkdir(parents=True, exist_ok=True)
    with Journal(config.state / FILE) as journal:
        yield journal


def _each(journal: Journal, numbers: list[int], wish: Callable[[Job], str]) -> None:
    """Carry out `wish` on each job and say so; one that cannot be does not keep the others from it."""
    code = OK
    for number in dict.fromkeys(numbers):
        try:
            say(wish(_job(journal, number)))
        except (Unknown, IllegalMove) as error:
            print(error, file=sys.stderr)
            code = UNKNOWN if isinstance(error, Unknown) else USAGE
    if code:
        raise typer.Exit(code)


def _job(journal: Journal, number: int) -> Job:
    try:
        return journal.job(number)
    except (KeyError, OverflowError):  # SQLite counts to 2**63
        raise Unknown(f"there is no job {number}; `darkroom jobs` lists them") from None


def _scope(config: Config, numbers: list[int] | None, folder: str | None, everything: bool) -> str:
    """Return what a hold is about: a folder, EVERYTHING, or "" for the jobs named."""
    if sum((bool(numbers), folder is not None, everything)) != 1:
        leave(USAGE, "name jobs, or --folder NAME, or --all: one of the three")
    if folder is not None:
        return folder_of(config, folder).name
    return EVERYTHING if everything else ""
