"""LoRA files laid over the transformer for a job, and taken off again"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers import WanImageToVideoPipeline
from safetensors import SafetensorError
from safetensors.torch import load_file

from darkroom.kernels.device import is_full
from darkroom.pipelines.animate.options import Lora
from darkroom.pipelines.digests import digest
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)


def digests(models: Path, loras: Sequence[Lora]) -> tuple[tuple[str, str], ...]:
    """Give the SHA-256 of each file by its name in the options. Raises Unavailable where one is missing."""
    return tuple((str(lora.file), _digest(models / lora.file)) for lora in loras)


def size_bytes(models: Path, loras: Sequence[Lora]) -> int:
    """Give how large the files are together. Raises OSError where one is missing."""
    return sum((models / lora.file).stat().st_size for lora in loras)


def _digest(path: Path) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise Unavailable(f"{path}: a LoRA that cannot be read ({error.strerror}); put it there") from error


@contextmanager
def wearing(transformer: Any, loras: Sequence[Lora]) -> Iterator[None]:
    """Lay `loras` over `transformer` while this lasts; after it the transformer is as it was, to the bit.

    loras: with the whole paths of their files

    Files with the library's names are taken, and those with the original ones (`diffusion_model.`, `lora_unet_`).
    Raises Unavailable where a file is none of a model like this.
    """
    if not loras:
        yield
        return
    pipe = WanImageToVideoPipeline(tokenizer=None, text_encoder=None, vae=None, scheduler=None, transformer=transformer)
    try:
        for index, lora in enumerate(loras):
            _load(pipe, lora.file, f"lora{index}")
        pipe.set_adapters([f"lora{index}" for index in range(len(loras))], [lora.weight for lora in loras])
        yield
    finally:
        pipe.unload_lora_weights()


def _load(pipe: Any, path: Path, name: str) -> None:
    try:
        pipe.load_lora_weights(load_file(path), adapter_name=name)
    except (OSError, SafetensorError, ValueError, RuntimeError, LookupError) as error:
        if is_full(error):
            raise
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise Unavailable(f"{path}: no LoRA of this model ({line}); take it out of lora") from error
    if name not in pipe.get_list_adapters().get("transformer", []):
        raise Unavailable(f"{path}: holds nothing for the transformer; take it out of lora")
    log.info("%s: laid over the transformer", path)
