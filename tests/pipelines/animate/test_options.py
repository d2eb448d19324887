import pytest
from pydantic import ValidationError

from darkroom.pipelines.animate.options import NEGATIVE, Options


def faults(**given: object) -> str:
    with pytest.raises(ValidationError) as error:
        Options.model_validate(given)
    return str(error.value)


def test_the_defaults_are_the_official_ones() -> None:
    options = Options()
    assert (options.frames, options.fps, options.guidance, options.steps, options.solver) == (81, 16, 5.0, 40, "unipc")
    assert NEGATIVE.startswith("镜头晃动，")
    assert options.prompt is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": 0}, "greater than or equal to 1"),
        ({"steps": 101}, "less than or equal to 100"),
        ({"guidance": 0.5}, "greater than or equal to 1"),
        ({"seed": 2**31}, "less than 2147483648"),
        ({"size": "huge"}, 'expected "480p", "720p" or a size'),
        ({"prompt": ""}, "at least 1 character"),
        ({"model": "../elsewhere"}, "match pattern"),
        ({"attention_cache": {"start": 9, "end": 9}}, "end, 9, must lie after start, 9"),
        ({"attention_cache": {}, "magcache": {"ratios": [1, 1]}}, "choose one"),
        ({"magcache": {"ratios": [1, 1]}, "parallel": {"ulysses": 2}}, "they would wait for each other"),
        ({"parallel": {"cfg": 2}, "guidance": 1}, "guidance: 1 has one"),
        ({"parallel": {"fsdp": True}}, "need several devices"),
        ({"parallel": {"ulysses": 2}, "memory": {"offload": "blocks"}}, "cannot be shared out"),
        ({"parallel": {"ulysses": 2, "fsdp": True}, "memory": {"quantize": "int8"}}, "weights of one type"),
        ({"parallel": {"ulysses": 2, "vae": True}, "memory": {"vae_tiles": False}}, "shares out tiles"),
        ({"parallel": {"cfg": 2, "text_fsdp": True}, "memory": {"text_encoder": "cpu"}}, "text_encoder: cpu out"),
        ({"compile": True, "memory": {"offload": "blocks"}}, "compiled anew"),
        ({"compile": True, "attention_cache": {}}, "decided in the middle of a block"),
        ({"magcache": {}}, "ratios"),
        ({"parallel": {"ulysses": 2, "fsdp": True}, "lora": [{"file": "a.safetensors"}]}, "leave lora and compile out"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(given: dict[str, object], told: str) -> None:
    assert told in faults(**given)


def test_all_faults_are_told_at_once() -> None:
    told = faults(steps=500, frames=2, solver="ddim", promt="x")
    assert all(name in told for name in ("steps", "frames", "solver", "promt"))


def test_on_and_off_may_be_yamls() -> None:
    memory = Options.model_validate({"memory": {"vae_tiles": True}}).memory
    assert memory.vae_tiles == "on"


def test_devices_are_counted() -> None:
    assert Options.model_validate({"parallel": {"ulysses": 4, "cfg": 2}}).parallel.devices == 8
