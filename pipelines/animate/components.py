"""The components of Wan2.1 I2V, each loaded when it is first asked for and kept for the process"""

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
    UMT5EncoderModel,
)

from darkroom.pipelines.animate.layout import CONFIGS, read_json
from darkroom.pipelines.animate.weights import Weights
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")

# What runs once for each job and is small is not worth a rounding error.
EXACT = {"image_encoder": CLIPVisionModel, "vae": AutoencoderKLWan}
LARGE = {"text_encoder": UMT5EncoderModel, "transformer": WanTransformer3DModel}


class Lazily(Generic[Loaded]):
    """An attribute that is loaded when it is first asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, there: "Components", owner: type) -> Loaded:
        return there.get(self.name)  # type: ignore[no-any-return]


class Components:
    """The components by name. None of them is moved to a device here: that is for who uses them to say."""

    tokenizer = Lazily[PreTrainedTokenizerBase]()
    text_encoder = Lazily[UMT5EncoderModel]()
    image_encoder = Lazily[CLIPVisionModel]()  # the layer before its last one is used
    image_processor = Lazily[CLIPImageProcessorPil]()  # scales and normalizes an image for the image encoder
    transformer = Lazily[WanTransformer3DModel]()
    vae = Lazily[AutoencoderKLWan]()
    scheduler = Lazily[Mapping[str, Any]]()  # what is written of it beside the weights

    def __init__(self, loaders: Mapping[str, Callable[[], Any]]) -> None:
        self._loaders = dict(loaders)
        self._loaded: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._loaded

    def get(self, name: str) -> Any:
        """Give the component `name`, loaded now if it was not before. Raises Unavailable."""
        if name not in self._loaded:
            self._loaded[name] = self._loaders[name]()
        return self._loaded[name]

    def release(self, name: str) -> None:
        """Let go of the component `name`; it is loaded anew if it is asked for again."""
        self._loaded.pop(name, None)


def load(weights: Weights, dtype: torch.dtype = torch.bfloat16) -> Components:
    """Give the components of `weights`, none of them read yet; kept for the process until others are asked for.

    dtype:  of transformer and text encoder, but for what the library keeps in float32 (norms, the embedding of time,
            modulation). Image encoder and VAE are float32.

    A component whose file has its dtype stays in the file, memory-mapped, until its numbers are used or moved.
    Using one raises Unavailable if its files cannot be read or do not hold exactly what its configuration says.
    """
    return kept(weights.folder, weights.sha256, dtype)


@lru_cache(maxsize=1)  # kept warm between the jobs of one process; a job with other weights replaces it
def kept(folder: Path, sha256: str, dtype: torch.dtype) -> Components:
    """Do what `load` says. The digest tells files apart that took the place of others."""
    diffusers.utils.logging.disable_progress_bar()  # drawn over the log
    transformers.utils.logging.disable_progress_bar()
    dtypes = {**dict.fromkeys(EXACT, torch.float32), **dict.fromkeys(LARGE, dtype)}
    models = {name: partial(_model, folder / name, kind, dtypes[name]) for name, kind in {**EXACT, **LARGE}.items()}
    return Components(
        {
            **models,
            "tokenizer": partial(_read, folder / "tokenizer", AutoTokenizer.from_pretrained),
            "image_processor": partial(_read, folder / "image_processor", CLIPImageProcessorPil.from_pretrained),
            "scheduler": partial(read_json, folder / "scheduler" / CONFIGS["scheduler"]),
        }
    )


def _model(folder: Path, kind: Any, dtype: torch.dtype) -> Any:
    asked = {"torch_dtype" if kind in (AutoencoderKLWan, WanTransformer3DModel) else "dtype": dtype}
    found, info = _read(folder, kind.from_pretrained, output_loading_info=True, use_safetensors=True, **asked)
    faults = {fault: sorted(map(str, info.get(fault) or ())) for fault in ("missing_keys", "unexpected_keys")}
    wrong = [str(one) for one in info.get("mismatched_keys") or ()]
    told = [f"{fault.replace('_', ' ')} {names[0]} ({len(names)})" for fault, names in faults.items() if names]
    if told or wrong:
        raise Unavailable(f"{folder}: not what its configuration says: {'; '.join(told + wrong[:1])}; fetch it again")
    log.info("%s: loaded, %s", folder, str(dtype).removeprefix("torch."))
    return found.eval().requires_grad_(False)


def _read(folder: Path, reader: Callable[..., Any], **options: Any) -> Any:
    try:
        return reader(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise Unavailable(f"{folder}: cannot be loaded ({line}); fetch its files again") from error
