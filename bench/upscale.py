"""Which share of a model's own speed is left when it works on a real film, and where the rest goes."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from cutting import cut
from film import Film
from rows import Asked, Row, Spent, asked, in_child, publish, spent

VARIANTS = (("photo", "ncnn", 40), ("photo", "torch", 40), ("fast", "torch", 120), ("fast", "ncnn", 120))  # frames
QUICK = (("photo", "torch", 8), ("fast", "torch", 8))
ROUNDS = 3
GOAL = 0.95


def main() -> None:
    ask = asked("The speed of the whole pipeline beside that of the model alone, on one film in one run.")
    if ask.child:
        print(json.dumps(measured(ask)))
        return
    rows = [
        {"model": model, "backend": backend, "frames": frames}
        | in_child(__file__, model, backend, frames, quick=ask.quick)
        for model, backend, frames in (QUICK if ask.quick else VARIANTS)
    ]
    publish("upscale", rows, notes(rows), ask)


def measured(ask: Asked) -> Row:
    """Measure one model with one backend, in rounds in which the whole pipeline and its stages take turns."""
    model, backend, frames = ask.child
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        clip = cut(Path(folder, "film.mp4"), int(frames), size=(96, 54) if ask.quick else (320, 180))
        film = Film(clip, Path(folder), model=model, backend=backend)  # enlarges it once: the first time is slow
        works = [film.model, film.whole, film.decode, film.colours, film.encode, film.probe, film.join]
        rounds = [in_turn(works, backwards=bool(turn % 2)) for turn in range(1 if ask.quick else ROUNDS)]
    return summary(rounds, int(frames), film.plan.precision)


def in_turn(works: list[Callable[[], object]], *, backwards: bool) -> dict[str, Spent]:
    """Measure each of `works` once, by name."""
    return {work.__name__: spent(work) for work in (reversed(works) if backwards else works)}


def summary(rounds: list[dict[str, Spent]], frames: int, precision: str) -> Row:
    """Return the row of one variant; ratios are taken within a round, and their median is shown."""

    def cpu_ms(name: str) -> float:
        return 1000 * median(turn[name].cpu_s for turn in rounds) / frames

    return {
        "precision": precision,
        "fps ratio, clock": median(turn["model"].wall_s / turn["whole"].wall_s for turn in rounds),
        "fps ratio, CPU": median(turn["model"].cpu_s / turn["whole"].cpu_s for turn in rounds),
        "whole, CPU-ms": cpu_ms("whole"),
        **{f"{name}, CPU-ms": cpu_ms(name) for name in ("model", "decode", "colours", "encode", "probe", "join")},
    }


def notes(rows: Sequence[Row]) -> list[str]:
    """Return how to read the table."""
    good = [
        f"`{row['model']}` by {row['backend']}" for row in rows if float(str(row.get("fps ratio, clock", 0))) >= GOAL
    ]
    return [
        f"From 320x180 to 640x360; CPU-ms for each frame; medians of {ROUNDS} rounds in which all columns take turns. "
        "`model`: the net alone, on tensors in memory. `whole`: probe, plan, decoding, colours, model, x264 `fast`, "
        "join with the sound. The ratio by CPU counts all that is computed beside the model; by the clock, what of it "
        f"does not hide behind the model. Goal by the clock: {GOAL} where the model is the limit; reached by "
        f"{', '.join(good) or 'none'}."
    ]


if __name__ == "__main__":
    main()
