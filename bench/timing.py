"""How long work takes on a device: by the GPU's own events where there is one, by the processor's clock elsewhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from darkroom.kernels.device import matmul_rate

COPY_BYTES = 1 << 30  # larger than any cache
CYCLES = 2_000_000  # of a GPU in a millisecond, about; none runs much faster
HEAD_START_MS = 100.0  # at most
SETS = 3  # of input, taken in turn: no work finds what it needs in a cache because it ran just before


class Clock:
    """The time between marks. A mark on a GPU is an event in its queue: it waits for nothing and delays nothing."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[tuple[str, torch.cuda.Event | float]] = []

    def mark(self, name: str) -> None:
        """Note the time at which the work so far is done; `name` is that of the span that ends here."""
        self._marks.append((name, self._now()))

    def spans(self) -> dict[str, float]:
        """Return the milliseconds of each span, the name of the first mark left out, having waited for the device."""
        settle(self.device)
        ends = zip(self._marks[1:], self._marks, strict=False)
        return {name: self._between(before, now) for (name, now), (_, before) in ends}

    def whole(self) -> float:
        """Return the milliseconds from the first mark to the last."""
        settle(self.device)
        return self._between(self._marks[0][1], self._marks[-1][1])

    def _now(self) -> torch.cuda.Event | float:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    @staticmethod
    def _between(before: torch.cuda.Event | float, now: torch.cuda.Event | float) -> float:
        if isinstance(before, torch.cuda.Event) and isinstance(now, torch.cuda.Event):
            return float(before.elapsed_time(now))
        assert isinstance(before, float) and isinstance(now, float)
        return 1000 * (now - before)


def settle(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def occupy(device: torch.device, ms: float) -> None:
    """Keep a GPU busy for about so long: what is given to it meanwhile lies ready, and then runs without a gap."""
    if device.type == "cuda":
        torch.cuda._sleep(int(ms * CYCLES))  # type: ignore[no-untyped-call]


def milliseconds(work: Callable[[int], object], device: torch.device, *, repeats: int, budget_s: float = 2.0) -> float:
    """Return the median time of `work`, which is told which of SETS input sets to take.

    It is done SETS times to warm up, and then `repeats` times, or as often as `budget_s` allows, thrice at least. On a
    GPU the host gets a head start each time: of many small kernels their own time counts, not that of giving them out.
    """
    once_s = 0.0
    for turn in range(SETS):  # the first may compile
        began = time.perf_counter()
        work(turn)
        settle(device)
        once_s = time.perf_counter() - began
    clock = Clock(device)
    for turn in range(max(SETS, min(repeats, int(budget_s / max(once_s, 1e-6))))):
        occupy(device, min(1000 * once_s, HEAD_START_MS))
        clock.mark("")
        work(turn % SETS)
        clock.mark(str(turn))
    return median(ms for name, ms in clock.spans().items() if name)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the device reaches in the two things that all else is made of."""

    matmul: float  # 10¹² operations a second
    copy: float  # 10⁹ bytes a second, read and written


def limits(device: torch.device, *, quick: bool) -> Limits:
    """Measure the device's limits, in bf16 on a GPU and in fp32 elsewhere."""
    precision, budget_s = ("bf16" if device.type == "cuda" else "fp32"), (0.01 if quick else 0.5)
    count = (COPY_BYTES >> 8 if quick else COPY_BYTES) // 4
    source, target = (torch.ones(count, device=device) for _ in range(2))
    took = milliseconds(lambda _: target.copy_(source), device, repeats=20)
    return Limits(
        matmul=matmul_rate(str(device), precision, budget_s=budget_s),  # type: ignore[arg-type]
        copy=2 * 4 * count / took / 1e6,
    )


def peak_gib(device: torch.device) -> float | None:
    """Return the most GPU memory that tensors took since `forget_peak`, None where there is no GPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None


def forget_peak(device: torch.device) -> None:
    """Let go of memory that nobody uses, and count the peak anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
