from dataclasses import replace
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from darkroom.pipelines.upscale.flashvsr.options import (
    PRESETS,
    FlashVSROptions,
    MemoryOptions,
    Preset,
    Settings,
)


def test_without_a_preset_the_published_settings_are_taken() -> None:
    published = Settings(sparse_ratio=2.0, kv_windows=3, local_range=11, attention="auto", lead_in=29)
    assert FlashVSROptions().settings == published == FlashVSROptions(preset="balanced").settings


@pytest.mark.parametrize("preset", get_args(Preset))
def test_a_preset_fills_what_is_not_set(preset: Preset) -> None:
    assert FlashVSROptions(preset=preset).settings == PRESETS[preset]


def test_what_is_set_goes_before_the_preset() -> None:
    mine = {"sparse_ratio": 2.5, "kv_windows": 2, "local_range": 13, "attention": "dense", "lead_in": 0}
    settings = FlashVSROptions.model_validate({"preset": "fast", **mine}).settings
    assert settings == Settings(
        sparse_ratio=2.5, kv_windows=2, local_range=13, attention="dense", lead_in=0, attention_named=True
    )


@pytest.mark.parametrize("preset", get_args(Preset))
def test_a_preset_holds_what_the_options_would_take(preset: Preset) -> None:
    values = {name: getattr(PRESETS[preset], name) for name in Settings.__slots__ if name != "attention_named"}
    settings = FlashVSROptions(**values).settings
    assert replace(settings, attention_named=False) == PRESETS[preset]


def test_numbers_and_truth_values_that_yaml_makes_of_words_are_understood() -> None:
    assert [FlashVSROptions.model_validate({"version": raw}).version for raw in (1, 1.0, 1.1)] == ["1", "1", "1.1"]
    assert FlashVSROptions.model_validate({"color_fix": False}).color_fix == "off"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"version": 2}, "version"),
        ({"sparse_ratio": 0.5}, "sparse_ratio"),
        ({"sparse_ratio": 4.5}, "sparse_ratio"),
        ({"kv_windows": 1}, "kv_windows"),
        ({"local_range": 6}, "local_range"),
        ({"lead_in": 28}, "lead_in"),
        ({"seed": -1}, "seed"),
        ({"color_fix": True}, "color_fix"),
        ({"kv_ratio": 3}, "kv_ratio"),
    ],
)
def test_what_the_model_has_no_meaning_for_is_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        FlashVSROptions.model_validate(options)


def test_an_empty_part_has_its_defaults() -> None:
    assert FlashVSROptions.model_validate(None) == FlashVSROptions()
    assert MemoryOptions.model_validate(None) == MemoryOptions()


def test_sizes_are_read_with_their_units_and_auto_is_no_threshold() -> None:
    memory = MemoryOptions.model_validate({"limit": "10 GiB", "kv_offload_threshold": "24GB"})
    assert (memory.limit, memory.kv_offload_threshold) == (10 << 30, 24 * 10**9)
    assert MemoryOptions.model_validate({"kv_offload_threshold": "auto"}).kv_offload_threshold is None


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"limit": "much"}, "limit\n.*such as 10 GiB"),
        ({"limit": 0}, "limit\n.*such as 10 GiB"),
        ({"limit": "12"}, "limit\n.*such as 10 GiB"),
        ({"limit": True}, "limit\n.*such as 10 GiB"),
        ({"kv_offload": "disk"}, "auto.*cpu.*none"),
        ({"tiled_vae": "perhaps"}, "tiled_vae"),
        ({"tile_size": 32}, "tile_size"),
        ({"tile_size": 128, "tile_overlap": 65}, "more than half of tile_size 128: lower it"),
    ],
)
def test_memory_options_that_cannot_be_met_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        MemoryOptions.model_validate(options)


def test_tiles_may_share_half_of_themselves() -> None:
    assert MemoryOptions(tile_size=128, tile_overlap=64).tile_overlap == 64
