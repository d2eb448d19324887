"""What an import will write of each model: every tensor of the library's model, found among those of the source"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darkroom.pipelines.animate.convert.configs import configured, skeleton
from darkroom.pipelines.animate.convert.names import TIED, Piece, pieces, published_pieces
from darkroom.pipelines.animate.convert.source import Source
from darkroom.pipelines.animate.convert.stream import Target
from darkroom.pipelines.animate.layout import CONFIGS, STEMS, Component, read_json
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr.weights import read

DTYPES: dict[Component, torch.dtype] = {  # that most of a model is written in
    "transformer": torch.bfloat16,
    "text_encoder": torch.bfloat16,
    "image_encoder": torch.float32,  # small, and runs once for each job
    "vae": torch.float32,
}
FEW = 6  # names of one kind that a message tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model to be written."""

    skeleton: Any  # of the library, without numbers
    targets: Mapping[str, Target]
    dtype: torch.dtype

    @property
    def size_bytes(self) -> int:
        """Of its numbers as they are written."""
        return sum(target.size_bytes for target in self.targets.values())


def models_of(source: Source) -> dict[Component, Model]:
    """Give the models in `source`; no numbers are read.

    Raises Unavailable if a file does not hold exactly what its model has.
    """
    return {component: model_of(component, source) for component in STEMS}


def model_of(component: Component, source: Source) -> Model:
    """Give the model `component` of `source`. Raises Unavailable."""
    weights = source.weights(component)
    found = {name: (path, tensor) for path in weights for name, tensor in read(path).items()}
    shapes = {name: tuple(tensor.shape) for name, (_, tensor) in found.items()}
    told = str(weights[0]) if len(weights) == 1 else f"{weights[0].parent}: the {component}"
    if "img_emb.emb_pos" in shapes:
        raise Unavailable(f"{told}: is of Wan2.1 FLF2V, which wants a last image too, and is not supported")
    try:
        if source.original:
            made = skeleton(component, shapes, read_json(source.place / CONFIGS["transformer"]))
        else:
            made = configured(component, source.place / component)
    except (LookupError, TypeError, ValueError, ZeroDivisionError) as error:
        raise Unavailable(f"{told}: not the {component} of Wan2.1 I2V ({error!r}); fetch it again") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items() if name not in TIED}
    sources = (pieces if source.original else published_pieces)(component, shapes)
    tensors = {name: _cut(found[piece.source][1], piece) for name, piece in sources.items()}
    if faults := list(_faults(wanted, tensors)):
        raise Unavailable(f"{told}: not the {component} of Wan2.1 I2V: {', '.join(faults)}; fetch it again")
    exact = set(getattr(made, "_keep_in_fp32_modules", None) or ()) if component == "transformer" else set()
    targets = {
        name: Target(
            tensor=tensors[name],
            shape=wanted[name],
            dtype=torch.float32 if exact & set(name.split(".")) else DTYPES[component],
            source=f"{found[piece.source][0]}: {piece.source}",
        )
        for name, piece in sources.items()
    }
    return Model(skeleton=made, targets=targets, dtype=DTYPES[component])


def _cut(tensor: Tensor, piece: Piece) -> Tensor:
    return tensor if piece.blocks == 1 else tensor.chunk(piece.blocks)[piece.block]


def _faults(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield what is wrong with the tensors of a model, one phrase for each kind of fault."""
    if lacking := sorted(wanted.keys() - tensors.keys()):
        yield f"lacks {_some(lacking)}"
    if unknown := sorted(tensors.keys() - wanted.keys()):
        yield f"has the unknown {_some(unknown)}"
    shared = sorted(wanted.keys() & tensors.keys())
    if wrong := [name for name in shared if _bare(tuple(tensors[name].shape)) != _bare(wanted[name])]:
        yield _some([f"has {name} of {list(tensors[name].shape)} and not {list(wanted[name])}" for name in wrong])
    if other := [name for name in shared if not tensors[name].dtype.is_floating_point]:
        yield f"has {_some(other)} in {tensors[other[0]].dtype}"


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give `shape` without the ones that it begins with: CLIP's embeddings have them in the original files."""
    return shape if not shape or shape[0] != 1 else _bare(shape[1:])


def _some(names: list[str]) -> str:
    rest = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {rest} more" if rest > 0 else "")
