from dataclasses import FrozenInstanceError

import pytest

from darkroom.pipelines.ocr.outputs.settings import OutputSettings


def test_text_that_is_there_is_left_unless_asked() -> None:
    assert OutputSettings().mode == "skip"


def test_settings_cannot_be_changed_under_way() -> None:
    with pytest.raises(FrozenInstanceError):
        OutputSettings().mode = "force"  # type: ignore[misc]
