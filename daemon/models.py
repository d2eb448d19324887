"""The commands `darkroom models` and `darkroom models import`: which weights are here, and how they get here"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from darkroom.daemon.ending import UNAVAILABLE, AsJson, console, print_json, say
from darkroom.daemon.log import set_up
from darkroom.daemon.units import show_bytes
from darkroom.daemon.view import plain
from darkroom.pipelines.models import ModelFile, ModelSet, Version, import_weights, survey

DIGITS = 12  # of a SHA-256 in a table; --json has all 64

app = typer.Typer(invoke_without_command=True)


@app.callback()
def _list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the models: which files each needs, where they belong, what of them is here."""
    if ctx.invoked_subcommand is not None:
        return
    config = ctx.obj.load()
    set_up(config.log)  # the first look at large files takes a while, and says so
    found = list(survey(config.models))
    if as_json:
        print_json([model_values(model) for model in found])
    else:
        console().print(models_view(found))


@app.command(name="import")
def _import(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="holds the published files")],
    version: Annotated[Version | None, typer.Option(help="of the files, where they do not tell it")] = None,
    as_json: AsJson = False,
) -> None:
    """Check published weights, and convert them once to 16 bits in the folder of weights."""
    config = ctx.obj.load()
    set_up(config.log)
    lines: list[str] = []
    place = import_weights(source.resolve(), config.models, version, lines.append if as_json else say)
    (model,) = (model for model in survey(config.models) if model.place == place)
    if as_json:
        print_json(model_values(model) | {"done": lines})
    else:
        say(f"{model.name}: {model.state}, in {place}")
    if model.trouble:
        raise typer.Exit(UNAVAILABLE)


def model_values(model: ModelSet) -> dict[str, Any]:
    """Return what there is to know of a model, in values JSON can hold."""
    return asdict(model) | {"state": model.state}


def models_view(models: list[ModelSet]) -> RenderableType:
    """Return a table of the models, and of each that is not built in its files and what to do."""
    table = _table("model", "pipeline", "what it is", "state", "place")
    rows: list[RenderableType] = [table]
    for model in models:
        style = "red" if model.trouble and model.built_in else "yellow" if model.trouble else "green"
        names = map(plain, (model.name, model.pipeline, model.summary))
        table.add_row(*names, plain(model.state, style), plain("" if model.built_in else model.place))
        if not model.built_in:
            rows += [Text(), _files(model)]
        if trouble := _trouble(model):
            rows.append(plain(f"! {trouble}", style))
    return Group(*rows)


def _trouble(model: ModelSet) -> str:
    if model.incomplete:  # the table above it says what and from where
        return f"put them in {model.place}; or in a folder of their own, and then: darkroom models import FOLDER"
    return model.trouble


def _files(model: ModelSet) -> Table:
    table = _table(model.name, "here", "size", "sha256", "from")
    for file in model.files:
        size = show_bytes(file.size_bytes) if file.size_bytes else ""
        cells = (f"{file.name}{f' ({file.use})' if file.use else ''}", _here(file), size, file.sha256[:DIGITS])
        table.add_row(*map(plain, (*cells, file.origin)))
    return table


def _here(file: ModelFile) -> str:
    return f"as {file.path.name}" if file.verdict == "converted" and file.path else file.verdict


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(plain(column), overflow="fold")
    return table
