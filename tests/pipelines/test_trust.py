from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from darkroom import pipelines
from darkroom.pipelines.trust import OWNERS, BelowModels, for_owners

PLACES = TypeAdapter(BelowModels)


class Inner(BaseModel):
    url: str = Field("", json_schema_extra=OWNERS)
    size: int = 0


class Outer(BaseModel):
    inner: Inner = Inner()
    door: str | None = Field(None, json_schema_extra=OWNERS)
    other: int = Field(0, json_schema_extra={"only_in": "print"})


@pytest.mark.parametrize("path", ["a.onnx", "mine/a b.onnx", "./a", "..a/b..", "%03d/{x}"])
def test_what_lies_below_the_models_folder_may_be_named(path: str) -> None:
    assert PLACES.validate_python(path) == Path(path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "a/..", "..", "a\0b", "//a"])
def test_what_leads_out_of_the_models_folder_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="below the models folder"):
        PLACES.validate_python(path)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, []),
        ({"inner": {"size": 3}, "other": 1, "unknown": {"url": "x"}}, []),
        ({"inner": {"url": "http://here"}, "door": None}, ["inner.url", "door"]),
        ({"inner": 7, "door": "x"}, ["door"]),
        ({1: 2}, []),
    ],
)
def test_keys_that_only_the_owner_may_set_are_found_at_any_depth(options: dict[Any, Any], keys: list[str]) -> None:
    assert list(for_owners(Outer, options)) == keys


def test_of_the_real_pipelines_only_the_servers_address_is_the_owners() -> None:
    assert list(for_owners(pipelines.options_of("ocr"), {"vl": {"url": "http://a", "parallel": 2}})) == ["vl.url"]


# An option that takes a path is a way out of the models folder unless its type says otherwise: each is named here.
PATHS = {"ocr": {"model_dir"}, "animate": {"lora.file"}, "upscale": set[str]()}


@pytest.mark.parametrize("name", pipelines.KINDS)
def test_every_option_that_is_a_path_is_known_and_stays_below_the_models_folder(name: str) -> None:
    model = pipelines.options_of(name)
    assert set(paths_in(model.model_json_schema(), model.model_json_schema())) == PATHS[name]
    for key in PATHS[name]:
        outer, _, inner = key.partition(".")
        for path in ("/etc/passwd", "../state/journal.db"):
            with pytest.raises(ValidationError, match="below the models folder"):
                model.model_validate({outer: [{inner: path}] if inner else path})


def paths_in(schema: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """Return the keys in a JSON schema whose values are paths, those of nested ones with dots."""
    if "$ref" in schema:
        return paths_in(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if schema.get("format") == "path":
        return [""]
    inner = [*schema.get("anyOf", []), *([schema["items"]] if isinstance(schema.get("items"), dict) else [])]
    found = [path for part in inner for path in paths_in(part, whole)]
    for key, value in schema.get("properties", {}).items():
        found += [f"{key}.{path}".rstrip(".") for path in paths_in(value, whole)]
    return found
