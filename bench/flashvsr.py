"""How fast FlashVSR is on this machine's GPU, stage by stage, and what each thing done for its speed is worth."""

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import layers
import sparse
import stages
import torch
import without
from agreement import Disagreement, hold_ops
from rows import README, Row, shown, table
from rows import replaced as replaced_in
from timing import Limits, limits
from weights import ARCHITECTURES, model

from darkroom.kernels.backend import Ops, choose
from darkroom.kernels.device import describe
from darkroom.pipelines.upscale.flashvsr.cost import chunk_cost
from darkroom.pipelines.upscale.flashvsr.model import PIXELS, FlashVSR, StreamState
from darkroom.pipelines.upscale.flashvsr.options import Variant

SECTION = "flashvsr"
FRAMES = 8  # of a steady chunk
SMOKE = "**A smoke run: it shows that the program works; no results.**"
NOTES = (
    "Operations are those of the published model, two for a multiply-add, of attention only for the pairs of windows "
    "that were kept; % of limit: of the device's own products of large matrices, or of its own copies where GB are "
    "given. Stages are medians over steady chunks of 8 frames, by events in the GPU's queue; frames stay on the "
    "device. Parts of the transformer, and attention by itself, are timed without the host's time to give them out. "
    "Peak: of tensors as torch counts them; of changed weights, with the unchanged ones beside them."
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asks for, with what was left open filled in."""

    device: torch.device
    architecture: str
    size: tuple[int, int]  # height and width of the frames made
    chunks: int  # timed, steady ones
    variant: Variant
    repeats: int  # of a kernel
    quick: bool
    readme: Path | None
    json: Path | None

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    @property
    def streamed(self) -> int:
        """Steady chunks that are timed by the clock, one behind the other: seconds, for a GPU slows as it warms."""
        return self.chunks if self.smoke else 6 * self.chunks

    @property
    def smoke(self) -> bool:
        """Whether what is found says nothing about the speed of FlashVSR."""
        return self.quick or self.device.type != "cuda" or self.architecture != "official"


def main() -> None:
    want = wanted(sys.argv[1:])
    if want.device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"bench: {want.device}: torch finds no CUDA device here; leave out --device for a smoke run")
    try:
        # Triton launches on the current device.
        with torch.cuda.device(want.device) if want.device.type == "cuda" else nullcontext():
            tables = measured(want)
    except Disagreement as error:
        raise SystemExit(f"bench: wrong results, so no tables: {error}") from error
    except torch.OutOfMemoryError as error:
        raise SystemExit(f"bench: {str(error).split('. ')[0]}; ask for a smaller --size") from error
    if want.json is not None:
        want.json.write_text(json.dumps(tables, indent=1) + "\n")
    if want.readme is not None:
        before = want.readme.read_text() if want.readme.exists() else ""
        want.readme.write_text(replaced_in(before, SECTION, page(tables, want)))


def wanted(words: Sequence[str]) -> Wanted:
    """Read the command line. Raises SystemExit where it asks for what takes hours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto: CUDA where it is, else a smoke run on the CPU")
    parser.add_argument("--architecture", choices=ARCHITECTURES, help="official on CUDA, tiny elsewhere")
    parser.add_argument("--size", type=size, help="of the frames made, 768x1408 on CUDA; multiples of 128")
    parser.add_argument("--chunks", type=int, help="steady chunks that are timed, 10 on CUDA")
    parser.add_argument("--variant", choices=("tiny", "full"), default="tiny", help="the small decoder or the large")
    parser.add_argument("--quick", action="store_true", help="a tiny run that shows the program works; no results")
    parser.add_argument("--readme", type=Path, help="write the tables there (bench/README.md, unless a smoke run)")
    parser.add_argument("--json", type=Path, help="write all rows there")
    given = parser.parse_args(words)
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(found if given.device == "auto" else given.device)
    small = given.quick or device.type != "cuda"
    if given.architecture == "official" and given.device == "auto" and device.type == "cpu":
        parser.exit(2, "bench: no CUDA device, and the official widths take minutes a chunk on a CPU;"
                       " leave out --architecture, or add --device cpu\n")  # fmt: skip
    want = Wanted(
        device=device,
        architecture=given.architecture or ("tiny" if small else "official"),
        size=given.size or ((128, 256) if small else (768, 1408)),
        chunks=given.chunks or (1 if small else 10),
        variant=given.variant,
        repeats=1 if small else 30,
        quick=given.quick,
        readme=given.readme,
        json=given.json,
    )
    return want if given.readme or want.smoke else replace(want, readme=README)


def size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH."""
    height, _, width = text.partition("x")
    sides = int(height), int(width)
    if min(sides) < PIXELS or any(side % PIXELS for side in sides):
        raise argparse.ArgumentTypeError(f"{text}: both sides must be multiples of {PIXELS}, as in 768x1408")
    return sides


@torch.inference_mode()
def measured(want: Wanted) -> dict[str, list[Row]]:
    """Return all tables by their titles, each printed as soon as it is there. Raises Disagreement."""
    a, (height, width) = ARCHITECTURES[want.architecture], want.size
    ops = operations(want)
    hold_ops(ops, heads=a.heads, width=a.width, dtype=want.dtype, device=want.device)
    most = limits(want.device, quick=want.smoke)
    grid = (height // PIXELS, width // PIXELS)
    cases = sparse.CASES[-2:-1] if want.smoke else sparse.CASES
    kernels = sparse.rows(cases, grid, a.heads, a.width, want.dtype, want.device, most.matmul, want.repeats)
    attention = told("Attention of one layer", kernels)
    net = model(a, height, width, ops=ops, dtype=want.dtype, device=want.device, variant=want.variant)
    stages.run(stages.Trial(model=net), height, width, 1)  # compiles, and finds the first chunk's ways
    plain, state = stages.run(stages.Trial(model=net), height, width, want.chunks)
    whole = told("A chunk by its stages", chunk_rows(net, plain, state, most, want))
    del state  # or it would count in the peaks of all that follow
    changed = told("The same otherwise", without.rows(net, a, plain, height, width, want.chunks))
    return dict((whole, changed, attention))


def operations(want: Wanted) -> Ops:
    """Return the fused operations of a GPU, the definitions elsewhere. Raises SystemExit if a GPU cannot run them."""
    try:
        return choose(str(want.device), attention="sparse" if want.device.type == "cuda" else "torch", dtype=want.dtype)
    except ValueError as error:
        raise SystemExit(f"bench: {error}") from error


def told(title: str, rows: Iterable[Row]) -> tuple[str, list[Row]]:
    """Return `title` and `rows`, which are computed and printed here: a run that is cut short has said what it knew."""
    print(f"{title}:", flush=True)
    kept = []
    for row in rows:
        kept.append(row)
        print("  " + ", ".join(f"{name} {shown(value)}" for name, value in row.items() if value != ""), flush=True)
    return title, kept


def chunk_rows(net: FlashVSR, plain: stages.Taken, state: StreamState, most: Limits, want: Wanted) -> Iterator[Row]:
    """Yield what each stage of a steady chunk takes, then each kind of work in the transformer, then the whole."""
    height, width = want.size

    def row(name: str, ms: float, flop: float = 0, moved: float = 0, remark: str = "") -> Row:
        rate, limit = (flop / 1e12, most.matmul) if flop else (moved / 1e9, most.copy)
        return {
            "stage": name,
            "ms": ms,
            "share": f"{ms / plain.whole:.1%}",
            "TFLOP": flop / 1e12 if flop else "–",
            "GB": moved / 1e9 if moved else "–",
            "% of limit": 100 * rate / (ms / 1000) / limit if rate else "–",
            "remark": remark,
        }

    kept = stages.kept_pairs(net, height, width)
    cost = chunk_cost(ARCHITECTURES[want.architecture], height, width, variant=want.variant)
    cost = replace(cost, attention=int(cost.attention * kept))
    transformer = cost.linear + cost.cross + cost.attention
    yield row("enlarge by bicubic", plain.steady["enlarge"])
    yield row("projection", plain.steady["projection"], cost.projection)
    yield row("transformer", plain.steady["transformer"], transformer)
    inner = layers.parts(net, state, height, width, cost, want.repeats)
    for name, part in inner.items():
        remark = f"{kept:.1%} of the pairs it may keep" if name.startswith("attention with") else ""
        yield row(f"– {name}", part.ms, part.flop, part.moved, remark)
    rest = plain.steady["transformer"] - sum(part.ms for part in inner.values())
    yield row("– the rest, and what does not add up", rest, remark="kinds of work are timed one by one")
    yield row("decoder", plain.steady["decoder"], cost.decoder, remark="as published; doublings are merged here")
    yield row("colours", plain.steady["colours"])
    memory = "" if plain.peak is None else f"; peak {plain.peak:.1f} GiB"
    yield row("a steady chunk", plain.whole, cost.total, remark=f"{fps(plain.whole):.3g} FPS{memory}")
    yield row("– given out by the host", plain.host, remark="if about as long as the chunk, the GPU waits for the host")
    streamed = stages.streamed(net, height, width, want.streamed)
    remark = f"{fps(streamed):.3g} FPS over {want.streamed} chunks; noise and all"
    yield row("a streamed chunk, by the clock", streamed, cost.total, remark=remark)
    yield row("the first chunk", sum(plain.first.values()), remark="21 frames")


def fps(ms: float) -> float:
    return 1000 * FRAMES / ms


def page(tables: Mapping[str, Sequence[Row]], want: Wanted) -> str:
    """Return the tables with what must be known to read them."""
    height, width = want.size
    body = [f"{title}:\n\n{table(rows)}" for title, rows in tables.items()]
    device = describe(str(want.device))
    # Its package has more than one name. It was imported if it was used.
    triton = f", triton {found.__version__}" if (found := sys.modules.get("triton")) else ""
    made = (
        f"`python bench/{SECTION}.py` on {device.name}, {want.dtype}, {height}x{width}, variant {want.variant}, "
        f"architecture {want.architecture}, {want.chunks} chunks; Python {platform.python_version()}, "
        f"torch {torch.__version__}{triton}. Random weights of the architecture's shapes."
    )
    return "\n\n".join([*([SMOKE] if want.smoke else []), *body, NOTES, made])


if __name__ == "__main__":
    main()
