"""From words and an image to what the transformer is conditioned on, and the noise it begins with"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image
from torch import Tensor

WORDS = 512  # tokens of a prompt; the attention finds the image's tokens as those before the last 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What every step sees, batch 1."""

    prompt: Tensor  # [1, 512, text width]
    negative: Tensor | None  # the same; None where guidance is 1
    image: Tensor  # [1, 257, image width], CLIP's last layer but one
    picture: Tensor  # [1, 20, T, h, w]: which frames are given, and the latents of the first one

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By name, for a part."""
        named = {"prompt": self.prompt, "negative": self.negative, "image": self.image, "picture": self.picture}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Conditions":
        """Read them back."""
        return cls(
            prompt=tensors["prompt"],
            negative=tensors.get("negative"),
            image=tensors["image"],
            picture=tensors["picture"],
        )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Conditions":
        """Give them on `device`; the words and the image in the transformer's `dtype`, the picture as it is."""
        return Conditions(
            prompt=self.prompt.to(device, dtype),
            negative=None if self.negative is None else self.negative.to(device, dtype),
            image=self.image.to(device, dtype),
            picture=self.picture.to(device),
        )


@torch.no_grad()
def encode_text(pipe: WanImageToVideoPipeline, prompt: str, negative: str | None) -> tuple[Tensor, Tensor | None]:
    """Give the embeddings of `prompt` and `negative`, [1, 512, text width], zero behind their last token."""
    said, unsaid = pipe.encode_prompt(
        prompt=prompt,
        negative_prompt=negative,
        do_classifier_free_guidance=negative is not None,
        max_sequence_length=WORDS,
        device=pipe.text_encoder.device,
    )
    return said, unsaid


@torch.no_grad()
def encode_image(pipe: WanImageToVideoPipeline, image: Image.Image) -> Tensor:
    """Give CLIP's features of the whole of `image`: it is made square first, or the processor would cut its sides."""
    side = _side(pipe.image_processor)
    square = image.resize((side, side), Image.Resampling.BICUBIC)
    seen: Tensor = pipe.encode_image(square, pipe.image_encoder.device)
    return seen


def _side(processor: Any) -> int:
    crop: Any = processor.crop_size
    return int(crop["height"])


@torch.no_grad()
def encode_picture(
    pipe: WanImageToVideoPipeline, image: Image.Image, frames: int, seed: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Give the noise of `seed` and the condition of `image` as the first of `frames` frames.

    image: of the video's size. The noise is drawn on the CPU: equal on every device, and the reference's there.
    """
    pixels = pipe.video_processor.preprocess(image, height=image.height, width=image.width)
    noise, picture = pipe.prepare_latents(
        pixels.to(device, torch.float32),
        batch_size=1,
        num_channels_latents=pipe.vae.config.z_dim,
        height=image.height,
        width=image.width,
        num_frames=frames,
        dtype=torch.float32,
        device=torch.device(device),
        generator=torch.Generator("cpu").manual_seed(seed),
    )
    return noise, picture
