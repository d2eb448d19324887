"""What a segment of FlashVSR loses by starting afresh: its frames beside those of one stream through the whole film."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import log10

import torch
from rows import Row, asked, in_child, publish
from torch import Tensor
from weights import model, moving

from darkroom.kernels.backend import TORCH
from darkroom.pipelines.base import Segment
from darkroom.pipelines.tiny_models import TINY
from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL
from darkroom.pipelines.upscale.flashvsr.dit import Sparsity
from darkroom.pipelines.upscale.flashvsr.frames import Window, needed, window
from darkroom.pipelines.upscale.flashvsr.model import FlashVSR
from darkroom.pipelines.upscale.flashvsr.stream import Job, frames

SEEDS = (20, 21, 22)  # of the weights
DEEP = replace(TINY, layers=OFFICIAL.layers)  # for each layer passes on what the one below remembers
SCALE = 4
SIZE, QUICK = (256, 384), (128, 256)  # of the frames made: 6 windows, and 2
BORDER = 61  # 8n + 5, as all borders but those at cuts
INSIDE = 45  # frames of the segment
EARLY = 16  # frames behind the border in which a seam would show
KEPT = 1.8  # topk_ratio: of four slices' pairs of windows 45 %, as at 768x1408
ROUNDED = 10 * log10(12 * 255**2)  # dB: the mean square of an error even between halves of a step is 1/12 of it
LEAD_INS = (0, 5, 13, 21, 29, 45)  # 5: the least after which a segment has the latents of the whole film's stream
STARTS = {f"{lead_in}": (False, lead_in) for lead_in in LEAD_INS} | {f"cut, {n}": (True, n) for n in (0, 29)}


def main() -> None:
    ask = asked("Frames of a segment that starts afresh, beside those of one stream, for each lead-in.")
    size = QUICK if ask.quick else SIZE
    if ask.child:
        print(json.dumps(measured(size, int(ask.child[0]))))
        return
    seeds = SEEDS[:1] if ask.quick else SEEDS
    answers = [in_child(__file__, seed, quick=ask.quick) for seed in seeds]
    if failed := [answer["error"] for answer in answers if "error" in answer]:
        raise SystemExit(f"bench: seams: {failed[0]}")
    publish("seams", rows(answers), notes(seeds), ask)


@torch.inference_mode()
def measured(size: tuple[int, int], seed: int) -> dict[str, list[float]]:
    """Return for each start, by its name, how far each frame of the segment is off: mean squares in [-1, 1]."""
    by = net(size, seed)
    films = {cut: film(size, cut=cut) for cut in (False, True)}
    whole = {cut: enlarged(by, pictures, start(0, 0)) for cut, pictures in films.items()}
    found = {}
    for name, (cut, lead_in) in STARTS.items():
        parts = enlarged(by, films[cut], start(BORDER, lead_in))
        found[name] = ((parts - whole[cut][BORDER:]) ** 2).mean((1, 2, 3)).tolist()
    return found


def start(frame: int, lead_in: int) -> Window:
    """Return what is read for the rest of the film from `frame` on."""
    return window(Segment(0, frame, BORDER + INSIDE), BORDER + INSIDE, cut=False, lead_in=lead_in)


def rows(answers: Sequence[dict[str, list[float]]]) -> list[Row]:
    """Return a row for each start, of the means over all models."""
    return [
        row(
            "at a cut" if cut else "within a scene",
            lead_in,
            start(BORDER, lead_in),
            torch.tensor([a[name] for a in answers]),
        )
        for name, (cut, lead_in) in STARTS.items()
    ]


def row(border: str, lead_in: int, of: Window, errors: Tensor) -> Row:
    """Return the row of one lead-in.

    errors: [models, frames], mean squares of the differences of numbers in [-1, 1]
    """
    return {
        "border": border,
        "lead-in, frames": lead_in,
        "chunks more": of.chunks - needed(INSIDE),
        "first frame, dB": decibel(errors[:, 0]),
        f"first {EARLY} frames, dB": decibel(errors[:, :EARLY]),
        "worst of them, dB": decibel(errors[:, :EARLY].max()),
        f"last {EARLY} frames, dB": decibel(errors[:, -EARLY:]),
    }


def decibel(errors: Tensor) -> float:
    """Return the PSNR of the mean of `errors`; 2 is the largest difference there can be."""
    return 10 * log10(4 / max(float(errors.mean()), 1e-12))


def net(size: tuple[int, int], seed: int) -> FlashVSR:
    """Return a tiny model that attends as sparsely as the real one does at 768x1408."""
    found = model(
        TINY if size != SIZE else DEEP, *size, ops=TORCH, dtype=torch.float32, device=torch.device("cpu"), seed=seed
    )
    return replace(found, sparsity=Sparsity(topk_ratio=KEPT, local_range=11))


def film(size: tuple[int, int], *, cut: bool = False) -> Tensor:
    """Return moving pictures, [frames, 3, h, w] uint8; with a cut, those before the border show something else."""
    pictures = moving(BORDER + INSIDE, size[0] // SCALE, size[1] // SCALE)
    if cut:
        pictures[:BORDER] = 255 - pictures[:BORDER].flip(-2)
    return pictures


class Reading:
    """The pictures of a window; past the last one, the last again."""

    def __init__(self, pictures: Tensor, of: Window) -> None:
        self.pictures = pictures[of.read_start : of.read_stop]

    def __getitem__(self, places: range) -> Tensor:
        return self.pictures[[min(place, len(self.pictures) - 1) for place in places]]


def enlarged(by: FlashVSR, pictures: Tensor, of: Window) -> Tensor:
    """Return the frames that the window `of` keeps."""
    height, width = (SCALE * side for side in pictures.shape[-2:])
    job = Job(model=by, window=of, height=height, width=width, seed=0)
    return torch.stack([frame for frame in frames(job, Reading(pictures, of)) if frame is not None])


def notes(seeds: Sequence[int]) -> list[str]:
    """Return how to read the table."""
    return [
        f"PSNR of the segment's frames against the same frames of one stream from frame 0; border at frame {BORDER}, "
        f"{SIZE[1]}x{SIZE[0]} made from a moving picture, colours matched, fp32; means over {len(seeds)} sets of "
        f"random weights of {DEEP.layers} layers, {DEEP.width} wide. `worst of them`: over frames and weights. "
        "`chunks more`: what the lead-in costs, of 8 frames each. Without a lead-in the latents lie across those of "
        "the other stream and start from other noise: another sample throughout, no seam that fades. To compare: "
        f"rounding to 8 bits leaves {ROUNDED:.3g} dB.",
        "With random weights this says how the memory of a stream (keys and values, the projection's and the "
        "decoder's) fades in the arithmetic, and that it does. It does not say how visible a seam is with trained "
        "ones, whose pictures should follow the film more and the noise less.",
    ]


if __name__ == "__main__":
    main()
