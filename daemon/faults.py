"""What a validation found wrong, one line for each fault, with the key it is about and the nearest known one."""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from darkroom.daemon.job import printable

SHORT = reprlib.Repr()  # shows a wrong value in a line: not all of it, if it is long or deep
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 80, 80
LOWEST = {"ge": "at least", "gt": "more than"}
HIGHEST = {"le": "at most", "lt": "less than"}


def faults(error: ValidationError, model: type[BaseModel], below: str = "") -> Iterator[str]:
    """Say each fault of a validation of `model` in one line: `key: what is wrong, what was expected`.

    below: the key that holds it, "" at the top
    """
    for fault in error.errors():
        parts = [below, *fault["loc"]] if below else fault["loc"]
        where = printable(".".join(map(str, parts)).encode(errors="surrogateescape"))
        if fault["type"] == "extra_forbidden":
            keys = list(_model_at(model, fault["loc"][:-1]).model_fields)
            near = get_close_matches(str(fault["loc"][-1]), keys, n=1, cutoff=0.5)
            yield f"{where}: unknown key" + (f"; did you mean {near[0]}?" if near else "; see the README for all keys")
        else:
            message = _range(fault.get("ctx", {}), model, fault["loc"]) or fault["msg"].removeprefix("Value error, ")
            told = fault["type"] == "missing" or ", got " in message or isinstance(fault["input"], dict)
            got = "" if told else f", got {SHORT.repr(fault['input'])}"
            yield f"{where}: {message}{got}" if where else message


def _range(broken: Mapping[str, Any], model: type[BaseModel], where: Sequence[int | str]) -> str:
    """Say from where to where a value may go that broke one of two bounds; '' if there are not two."""
    field = _field_at(model, where)
    for bounds in _bounds(field) if field else ():
        low, high = ({key: bounds[key] for key in side if key in bounds} for side in (LOWEST, HIGHEST))
        if low and high and any(bounds.get(key) == value for key, value in broken.items()):
            ((at_least, lowest), (at_most, highest)) = (*low.items(), *high.items())
            if (at_least, at_most) == ("ge", "le"):
                return f"expected {lowest} to {highest}"
            return f"expected {LOWEST[at_least]} {lowest}, {HIGHEST[at_most]} {highest}"
    return ""


def _bounds(field: FieldInfo) -> Iterator[dict[str, Any]]:
    """Yield the bounds of a field, and those of what it may hold: of the entries of a list, say."""
    groups = [field.metadata, *(part.metadata for part in _within(field.annotation) if isinstance(part, FieldInfo))]
    for group in groups:
        yield {key: getattr(rule, key) for rule in group for key in (*LOWEST, *HIGHEST) if hasattr(rule, key)}


def _within(annotation: Any) -> Iterator[Any]:
    """Yield a type, all types it is made of, and what is annotated to them."""
    yield annotation
    for part in get_args(annotation):
        yield from _within(part)


def _model_at(model: type[BaseModel], where: Sequence[int | str]) -> type[BaseModel]:
    """Return the model that lies at the key `where` of `model`, or the last one on the way."""
    for part in where:
        if isinstance(part, str) and part in model.model_fields:
            inner = _within(model.model_fields[part].annotation)
            model = next((one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)), model)
    return model


def _field_at(model: type[BaseModel], where: Sequence[int | str]) -> FieldInfo | None:
    """Return the innermost field on the way to the key `where` of `model`."""
    field = None
    for index, part in enumerate(where):
        here = _model_at(model, where[:index])
        field = here.model_fields.get(str(part), field)
    return field
