from pathlib import Path

import pytest

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.models import MODELS, Model
from darkroom.pipelines.upscale.weights.embedded import FOLDER, read_weights


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_every_embedded_file_is_whole(model: Model) -> None:
    weights = read_weights(model)
    assert all(value.isfinite().all() for value in weights.values())
    assert weights["conv.0.weight"].shape[1] == 3


def test_one_flipped_bit_makes_the_model_unavailable_with_a_remedy(tmp_path: Path) -> None:
    model = MODELS["fast"]
    data = bytearray((FOLDER / model.file).read_bytes())
    data[-1] ^= 1
    (tmp_path / model.file).write_bytes(data)
    with pytest.raises(Unavailable, match=r"fast\.safetensors: damaged.*reinstall"):
        read_weights(model, tmp_path)


def test_a_missing_file_makes_the_model_unavailable_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"anime\.safetensors: cannot be read.*reinstall"):
        read_weights(MODELS["anime"], tmp_path)
