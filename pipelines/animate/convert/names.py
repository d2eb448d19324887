"""Where each tensor of the library's models is found among those of the original files"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers

from darkroom.pipelines.animate.layout import Component


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of an original tensor: block number `block` of `blocks` equal ones."""

    source: str
    block: int = 0
    blocks: int = 1


# The names of UMT5's original tensors, and what the library calls them.
TEXT = {
    r"token_embedding\.weight": "shared.weight",
    r"norm\.weight": "encoder.final_layer_norm.weight",
    r"blocks\.(\d+)\.norm1\.weight": r"encoder.block.\1.layer.0.layer_norm.weight",
    r"blocks\.(\d+)\.attn\.([qkvo])\.weight": r"encoder.block.\1.layer.0.SelfAttention.\2.weight",
    r"blocks\.(\d+)\.pos_embedding\.embedding\.weight": (
        r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.weight"
    ),
    r"blocks\.(\d+)\.norm2\.weight": r"encoder.block.\1.layer.1.layer_norm.weight",
    r"blocks\.(\d+)\.ffn\.gate\.0\.weight": r"encoder.block.\1.layer.1.DenseReluDense.wi_0.weight",
    r"blocks\.(\d+)\.ffn\.fc1\.weight": r"encoder.block.\1.layer.1.DenseReluDense.wi_1.weight",
    r"blocks\.(\d+)\.ffn\.fc2\.weight": r"encoder.block.\1.layer.1.DenseReluDense.wo.weight",
}
# And those of CLIP's eyes. Queries, keys and values lie in one tensor, one below the other.
VISION = {
    r"visual\.cls_embedding": "embeddings.class_embedding",
    r"visual\.pos_embedding": "embeddings.position_embedding.weight",
    r"visual\.patch_embedding\.weight": "embeddings.patch_embedding.weight",
    r"visual\.pre_norm\.(weight|bias)": r"pre_layrnorm.\1",  # [sic]
    r"visual\.transformer\.(\d+)\.norm1\.(weight|bias)": r"encoder.layers.\1.layer_norm1.\2",
    r"visual\.transformer\.(\d+)\.attn\.to_qkv\.(weight|bias)": r"encoder.layers.\1.self_attn.{qkv}_proj.\2",
    r"visual\.transformer\.(\d+)\.attn\.proj\.(weight|bias)": r"encoder.layers.\1.self_attn.out_proj.\2",
    r"visual\.transformer\.(\d+)\.norm2\.(weight|bias)": r"encoder.layers.\1.layer_norm2.\2",
    r"visual\.transformer\.(\d+)\.mlp\.0\.(weight|bias)": r"encoder.layers.\1.mlp.fc1.\2",
    r"visual\.transformer\.(\d+)\.mlp\.2\.(weight|bias)": r"encoder.layers.\1.mlp.fc2.\2",
    r"visual\.post_norm\.(weight|bias)": r"post_layernorm.\1",
}
TIED = ("encoder.embed_tokens.weight",)  # the same tensor as another, written once
JOINED = "{qkv}"
UNUSED: dict[Component, tuple[str, ...]] = {  # CLIP's reading of words, and what compares it with what it sees
    "image_encoder": ("textual.", "log_scale", "visual.head"),
}


def pieces(component: Component, names: Iterable[str]) -> dict[str, Piece]:
    """Give what each tensor of the library's model is made of, by its name there.

    names:  of the original tensors; one that is not known keeps its name, one that is not used is left out
    """
    used = [name for name in names if not name.startswith(UNUSED.get(component, ("\0",)))]
    if component in BY_LIBRARY:
        # These only rename, whatever the values are: so names are given for tensors.
        return {
            target: Piece(name) for target, name in BY_LIBRARY[component](dict(zip(used, used, strict=True))).items()
        }
    rules = {
        re.compile(pattern): target for pattern, target in (TEXT if component == "text_encoder" else VISION).items()
    }
    return {target: piece for name in used for target, piece in _renamed(name, rules)}


def published_pieces(component: Component, names: Iterable[str]) -> dict[str, Piece]:
    """Give the same where the layout is the library's: CLIP's names had a beginning in it that they lost since."""
    prefix = "vision_model." if component == "image_encoder" else ""
    return {name.removeprefix(prefix): Piece(name) for name in names if name not in TIED}


def _renamed(name: str, rules: Mapping[re.Pattern[str], str]) -> Iterable[tuple[str, Piece]]:
    target = next((found.expand(rule) for pattern, rule in rules.items() if (found := pattern.fullmatch(name))), name)
    if JOINED not in target:
        return [(target, Piece(name))]
    return [(target.replace(JOINED, letter), Piece(name, block, 3)) for block, letter in enumerate("qkv")]


BY_LIBRARY: dict[Component, Callable[[dict[str, str]], Mapping[str, str]]] = {
    "transformer": convert_wan_transformer_to_diffusers,
    "vae": convert_wan_vae_to_diffusers,
}
