from pathlib import Path

import numpy as np
import pytest

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.structure.layout import layout_model
from darkroom.pipelines.ocr.structure.onnx import DEVIATION, MEAN, normalized, open_net


def test_a_missing_model_is_said_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"net\.onnx: the model file is not there; bake one"):
        open_net(tmp_path / "net.onnx", 1, "bake one")


def test_a_damaged_model_is_the_machines_fault(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(layout_model().read_bytes()[:100_000])
    with pytest.raises(Unavailable, match=r"net\.onnx: cannot be loaded \(.+\); bake one"):
        open_net(path, 1, "bake one")


def test_a_net_brings_its_dictionary_and_answers() -> None:
    net = open_net(layout_model(), 1, "")
    assert net.words[:2] == ("text", "title")
    outputs = net(np.zeros((1, 3, 800, 608), np.float32))
    assert [output.shape[1] for output in outputs[:4]] == [7600, 1900, 475, 130]


def test_pictures_are_normalized_channel_by_channel() -> None:
    rgb = np.zeros((2, 3, 3), np.uint8)
    rgb[:, :, 0] = 255
    channels = normalized(rgb)
    assert channels.shape == (3, 2, 3)
    assert np.allclose(channels[0], (1 - MEAN[0]) / DEVIATION[0])
    assert np.allclose(channels[2], -MEAN[2] / DEVIATION[2])
