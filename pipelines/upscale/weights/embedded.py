"""Read the embedded weights, and only if they are whole."""

import hashlib
from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.models import Model

FOLDER = Path(__file__).parent


def read_weights(model: Model, folder: Path = FOLDER) -> dict[str, Tensor]:
    """Give the tensors of `model` by name, as stored (fp16 or fp32).

    `conv.N.weight` [out, in, k, k] and `conv.N.bias`; `slope.N` of PReLUs; `deconv.weight` [in, out, k, k].
    Raises Unavailable if the file is missing or its SHA-256 is not the one in `models.py`.
    """
    file = folder / model.file
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Unavailable(f"{file}: cannot be read ({error.strerror}); reinstall darkroomd") from error
    if (digest := hashlib.sha256(data).hexdigest()) != model.sha256:
        raise Unavailable(
            f"{file}: damaged, its SHA-256 starts {digest[:12]} and not {model.sha256[:12]}; reinstall darkroomd"
        )
    return load(data)
