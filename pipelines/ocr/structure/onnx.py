"""A model file as a function on arrays: the one place that opens onnxruntime for structure

Nothing is ever downloaded: a file that is not there is said so, with the way to get it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import load
from darkroom.pipelines.ocr.picture import Pixels

ERRORS_ONLY = 3  # onnxruntime's log level: a harmless warning about shapes comes with each SLANet
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, RGB: what PaddlePaddle's vision models expect
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """An opened model."""

    path: Path
    words: tuple[str, ...]  # the dictionary that came in the file
    session: Any  # onnxruntime.InferenceSession

    def __call__(self, image: Floats) -> Sequence[Floats]:
        """Give the outputs of the net for `image`, [1, 3, H, W]."""
        outputs: Sequence[Floats] = self.session.run(None, {self.session.get_inputs()[0].name: image})
        return outputs


def open_net(path: Path, threads: int, remedy: str) -> Net:
    """Open the model at `path` on the CPU. Raises Unavailable if it or onnxruntime is not there, or is damaged.

    threads: of one operation; 0: as many as there are cores
    remedy:  what to do where the file is missing
    """
    if not path.is_file():
        raise Unavailable(f"{path}: the model file is not there; {remedy}")
    runtime = load("onnxruntime", "onnxruntime", "ocr")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    options.enable_cpu_mem_arena = False  # crops differ in size: an arena only grows
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are private: no ONNX, too new, out of memory
        raise Unavailable(f"{path}: cannot be loaded ({str(error).splitlines()[0]}); {remedy}") from error
    words = session.get_modelmeta().custom_metadata_map.get("character", "")
    return Net(path=path, words=tuple(words.splitlines()), session=session)


def normalized(rgb: Pixels) -> Floats:
    """Give `rgb`, [H, W, 3], as the nets take it: [3, H, W], each channel about mean 0 and deviation 1."""
    scaled = (rgb.astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
