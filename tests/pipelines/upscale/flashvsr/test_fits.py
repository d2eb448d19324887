"""docs/flashvsr.md tells the truth: its tables are those of the program, and every option is in it."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from darkroom.daemon.config import Config, Folder
from darkroom.pipelines.upscale.flashvsr.fits import HEADER, SOURCES, rows, table
from darkroom.pipelines.upscale.flashvsr.options import PRESETS, FlashVSROptions, MemoryOptions
from darkroom.pipelines.upscale.options import Options

PAGE = (Path(__file__).parents[4] / "docs" / "flashvsr.md").read_text()
MODELS: dict[str, type[BaseModel]] = {"flashvsr": FlashVSROptions, "memory": MemoryOptions}


def test_the_table_of_estimates_is_the_planners() -> None:
    assert table() in PAGE, "run python -m darkroom.pipelines.upscale.flashvsr.fits, and paste what it prints"


def test_every_profile_has_a_row_for_each_source_within_its_size() -> None:
    cells = list(rows())
    profiles = [str(name) for name in MemoryOptions.model_json_schema()["properties"]["profile"]["enum"]]
    assert [row[0] for row in cells] == [name for name in profiles if name != "auto" for _ in SOURCES]
    for row in cells:
        assert len(row) == len(HEADER)
        assert 0 < float(row[4]) < int(row[0].removesuffix("GB"))


def test_a_larger_card_never_runs_a_film_in_smaller_pieces() -> None:
    for width, height in SOURCES:
        needs = [float(row[4]) for row in rows() if row[1] == f"{width}x{height}"]
        assert needs == sorted(needs)


@pytest.mark.parametrize("section", MODELS)
def test_every_option_is_on_the_page(section: str) -> None:
    assert [key for key in MODELS[section].model_fields if f"`{section}.{key}`" not in PAGE] == []


def test_every_key_on_the_page_is_one() -> None:
    keys = {f"{name}.{key}" for name, model in MODELS.items() for key in model.model_fields}
    keys |= {*Options.model_fields, *Folder.model_fields, *Config.model_fields}
    for name in ("worker", "disk", "retention"):
        section = Config.model_fields[name].annotation
        assert isinstance(section, type) and issubclass(section, BaseModel)
        keys |= {f"{name}.{key}" for key in section.model_fields} | {f"{name}.*"}
    cells = re.findall(r"^\| [^|]* \| ([^|]*) \| [^|]*\|$", PAGE, re.MULTILINE)
    named = {key.rstrip(":") for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    assert len(named) > 25
    assert named <= keys


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_are_those_of_the_program(preset: str) -> None:
    (row,) = re.findall(rf"^\| {preset} \| (.*) \|$", PAGE, re.MULTILINE)
    said = PRESETS[preset]  # type: ignore[index]
    numbers = [f"{said.sparse_ratio:g}", said.local_range, said.kv_windows, said.attention, said.lead_in]
    assert row.split(" | ")[:5] == [str(number) for number in numbers]


def test_the_page_speaks_of_no_other_project_by_name() -> None:
    assert not re.search(r"github|comfy|seed 0|ultra|lihaoyun|zji", PAGE, re.IGNORECASE)
