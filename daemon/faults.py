"""What a validation found wrong, one line for each fault, with the key it is about and the nearest known one."""

import reprlib
from collections.abc import Iterator
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError

from darkroom.daemon.job import printable

SHORT = reprlib.Repr()  # shows a wrong value in a line: not all of it, if it is long or deep
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 80, 80


def faults(error: ValidationError, model: type[BaseModel], below: str = "") -> Iterator[str]:
    """Say each fault of a validation of `model` in one line: `key: what is wrong, what was expected`.

    below: the key that holds it, "" at the top
    """
    for fault in error.errors():
        parts = [below, *fault["loc"]] if below else fault["loc"]
        where = printable(".".join(map(str, parts)).encode(errors="surrogateescape"))
        if fault["type"] == "extra_forbidden":
            near = get_close_matches(str(fault["loc"][-1]), _keys_at(model, fault["loc"][:-1]), n=1, cutoff=0.5)
            yield f"{where}: unknown key" + (f"; did you mean {near[0]}?" if near else "; see the README for all keys")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            told = fault["type"] == "missing" or ", got " in message or isinstance(fault["input"], dict)
            got = "" if told else f", got {SHORT.repr(fault['input'])}"
            yield f"{where}: {message}{got}" if where else message


def _keys_at(model: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    for part in where:
        if isinstance(part, str) and part in model.model_fields:
            inner = model.model_fields[part].annotation
            candidates = [inner, *getattr(inner, "__args__", ())]
            model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return list(model.model_fields)
