"""A tiny Wan2.1 I2V of the real classes with random weights: a video of noise in a quarter of a second on a CPU"""

import string
import zlib
from math import prod, sqrt
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from darkroom.pipelines.animate.components import Components

M = TypeVar("M", bound=torch.nn.Module)

FOLDER = "wan2.1-i2v"
IMAGE_SIDE = 32
SPECIAL = ("<pad>", "</s>", "<unk>")

# Numbers that no shape tells (widths of heads, distances, two blocks for each stage of the VAE) are those of the
# published models: else the original layout could not be told apart from a damaged one.
TEXT = UMT5Config(
    vocab_size=len(SPECIAL) + len(string.printable.strip()),
    d_model=32,
    d_kv=8,
    d_ff=64,
    num_layers=2,
    num_heads=4,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=128,
    feed_forward_proj="gated-gelu",
    dropout_rate=0.0,
)
VISION = CLIPVisionConfig(
    hidden_size=160,  # two heads of 80
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=2,
    image_size=IMAGE_SIDE,
    patch_size=8,
    hidden_act="gelu",
)
VAE: dict[str, Any] = {"base_dim": 4, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": TEXT.d_model,
    "freq_dim": 32,
    "ffn_dim": 48,
    "num_layers": 2,
    "image_dim": VISION.hidden_size,
    "added_kv_proj_dim": 24,  # as wide as the model; without it the attention to the image is left out
}


def components(seed: int = 0) -> Components:
    """Give the components in float32 and in memory, each made when it is first asked for; equal for equal seeds."""
    makers = {
        "tokenizer": tokenizer,
        "text_encoder": lambda: filled(UMT5EncoderModel(TEXT), seed),
        "image_encoder": lambda: filled(CLIPVisionModel(VISION), seed),
        "image_processor": preprocessing,
        "transformer": lambda: filled(WanTransformer3DModel(**TRANSFORMER), seed),
        "vae": lambda: filled(AutoencoderKLWan(**VAE), seed),
        "scheduler": lambda: dict(scheduler().config),
    }
    return Components(makers)


def write(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a model in the layout that the library loads below `folder`, and return the folder it lies in."""
    place, parts = folder / FOLDER, components(seed)
    pipeline = WanImageToVideoPipeline(
        tokenizer=parts.tokenizer,
        text_encoder=parts.text_encoder.to(dtype),
        image_encoder=parts.image_encoder,
        image_processor=parts.image_processor,
        transformer=parts.transformer.to(dtype),
        vae=parts.vae,
        scheduler=scheduler(),
    )
    pipeline.save_pretrained(place)
    return place


def tokenizer() -> PreTrainedTokenizerFast:
    """Give a tokenizer with a token for each printable character."""
    names = [*SPECIAL, *string.printable.strip()]
    made = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = Sequence([WhitespaceSplit(), Split(Regex("."), "isolated")])
    made.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def preprocessing() -> CLIPImageProcessorPil:
    """Give what scales and normalizes an image for the tiny image encoder."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIDE}, crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    )


def scheduler(shift: float = 3.0) -> UniPCMultistepScheduler:
    """Give the scheduler as it is published with the weights."""
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def filled(model: M, seed: int) -> M:
    """Give `model`, ready to run, with random numbers for weights, the same for equal seeds."""
    for name, tensor in model.state_dict().items():
        numbers = torch.Generator().manual_seed(zlib.crc32(f"{seed} {type(model).__name__} {name}".encode()))
        tensor.copy_(made(name, tensor.shape, numbers))
    return model.eval().requires_grad_(False)


def made(name: str, shape: torch.Size, numbers: torch.Generator) -> Tensor:
    """Give random numbers that keep what passes through them about as large as it was: float32 of `shape`.

    They are such as 16 bits hold too, so that a model that was converted is the same one.
    """
    return _spread(name, torch.randn(shape, generator=numbers)).bfloat16().float()


def _spread(name: str, noise: Tensor) -> Tensor:
    shape = noise.shape
    if name.endswith("gamma") or (name.endswith("weight") and len(shape) == 1):  # gains of norms
        return 1 + 0.1 * noise
    if len(shape) == 1 or name.endswith("scale_shift_table"):
        return 0.1 * noise
    return noise / sqrt(prod(shape[1:]))
