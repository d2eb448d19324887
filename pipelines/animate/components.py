"""The six parts of Wan2.1 I2V, each loaded when it is first asked for and kept for the process"""

from collections.abc import Callable, Mapping
from typing import Any

from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import CLIPImageProcessorPil, CLIPVisionModel, PreTrainedTokenizerBase, UMT5EncoderModel


class Components:
    """The parts by name. None of them is moved to a device here: that is for who uses them to say."""

    def __init__(self, loaders: Mapping[str, Callable[[], Any]]) -> None:
        self._loaders = dict(loaders)
        self._loaded: dict[str, Any] = {}

    def _get(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._loaders[name]()
        return self._loaded[name]

    def release(self, name: str) -> None:
        """Let go of the part `name`; it is loaded anew if it is asked for again."""
        self._loaded.pop(name, None)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Turns a prompt into the text encoder's numbers."""
        return self._get("tokenizer")  # type: ignore[no-any-return]

    @property
    def text_encoder(self) -> UMT5EncoderModel:
        """Reads the prompt."""
        return self._get("text_encoder")  # type: ignore[no-any-return]

    @property
    def image_encoder(self) -> CLIPVisionModel:
        """Sees the image; the layer before its last one is used."""
        return self._get("image_encoder")  # type: ignore[no-any-return]

    @property
    def image_processor(self) -> CLIPImageProcessorPil:
        """Scales and normalizes the image for the image encoder."""
        return self._get("image_processor")  # type: ignore[no-any-return]

    @property
    def transformer(self) -> WanTransformer3DModel:
        """Takes the noise away, step by step."""
        return self._get("transformer")  # type: ignore[no-any-return]

    @property
    def vae(self) -> AutoencoderKLWan:
        """Turns frames into latents and back."""
        return self._get("vae")  # type: ignore[no-any-return]

    @property
    def scheduler(self) -> dict[str, Any]:
        """What is written of the scheduler beside the weights."""
        return self._get("scheduler")  # type: ignore[no-any-return]
