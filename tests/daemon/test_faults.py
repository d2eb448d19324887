"""Faults of a validation, in lines for people."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from darkroom.daemon.faults import faults


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Lens(Strict):
    focus: int = Field(50, ge=8)
    stop: float | None = Field(None, gt=0.5, le=32)
    name: str = ""

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 5:
            raise ValueError(f"at most 5 letters, got {len(name)}")
        return name


class Camera(Strict):
    lens: Lens = Lens()
    spare: list[Lens] | None = None
    film: str
    speeds: list[Annotated[int, Field(ge=50, le=3200)]] = []
    flash: Annotated[int, Field(ge=1, le=9)] | Literal["auto"] = "auto"
    angle: float = Field(0, ge=-90, lt=90)


def told(raw: dict[str, Any], below: str = "") -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Camera.model_validate(raw)
    return list(faults(caught.value, Camera, below))


def test_each_fault_has_a_line_with_its_key_and_the_value() -> None:
    assert told({"lens": {"focus": 3}, "film": "x"}) == [
        "lens.focus: Input should be greater than or equal to 8, got 3"
    ]
    assert told({"lens": {"focus": 3}}, below="options") == [
        "options.lens.focus: Input should be greater than or equal to 8, got 3",
        "options.film: Field required",
    ]


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"lens": {"stop": 0.5}}, "lens.stop: expected more than 0.5, at most 32, got 0.5"),
        ({"spare": [{}, {"stop": 64}]}, "spare.1.stop: expected more than 0.5, at most 32, got 64"),
        ({"speeds": [100, 25]}, "speeds.1: expected 50 to 3200, got 25"),
        ({"angle": 90}, "angle: expected at least -90, less than 90, got 90"),
        ({"lens": {"focus": 3}}, "lens.focus: Input should be greater than or equal to 8, got 3"),
    ],
)
def test_a_value_out_of_its_range_is_told_the_whole_range(raw: dict[str, Any], line: str) -> None:
    assert told({"film": "x"} | raw) == [line]


def test_of_a_choice_each_possibility_is_told() -> None:
    assert told({"film": "x", "flash": 10}) == [
        "flash.constrained-int: expected 1 to 9, got 10",
        "flash.literal['auto']: Input should be 'auto', got 10",
    ]


def test_the_nearest_known_key_is_named_at_its_own_depth_or_none() -> None:
    assert told({"film": "x", "lens": {"focsu": 3}}) == ["lens.focsu: unknown key; did you mean focus?"]
    assert told({"film": "x", "spare": [{"focsu": 3}]}) == ["spare.0.focsu: unknown key; did you mean focus?"]
    assert told({"film": "x", "zzz": 3}) == ["zzz: unknown key; see the README for all keys"]


def test_what_a_message_says_already_is_not_said_twice() -> None:
    assert told({"film": "x", "lens": {"name": "too long"}}) == ["lens.name: at most 5 letters, got 8"]


def test_large_values_are_shown_in_short_and_control_characters_as_escapes() -> None:
    (line,) = told({"film": ["x" * 10_000]})
    assert len(line) < 200
    (line,) = told({"film": "x", "\x1b[2J": 1})
    assert "\x1b" not in line
