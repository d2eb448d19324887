"""What this machine offers for a job: encoders, precision, the weights of FlashVSR and how fast it would run"""

from functools import lru_cache, partial
from importlib.util import find_spec

from darkroom.kernels.device import Device, Precision, describe, fast_precision, is_full, matmul_rate
from darkroom.pipelines.base import Site
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.learned import Learned
from darkroom.pipelines.upscale.choose import unfit
from darkroom.pipelines.upscale.flashvsr.architecture import Architecture
from darkroom.pipelines.upscale.flashvsr.files import NUMBERS, Weights, find, places
from darkroom.pipelines.upscale.flashvsr.weights import load
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.plan import Flash, Machine
from darkroom.pipelines.video.encode import available_encoders

BF16 = (8, 0)  # compute capability from which bf16 runs at full speed


def survey(options: Options, site: Site) -> Machine:
    """Say what there is at `site` for `options`. Raises Unavailable if FlashVSR is named and is not here."""
    flash, obstacle = None, ""
    if options.model in ("auto", "flashvsr") and options.backend != "ncnn":
        flash, obstacle = flash_at(options, site)
    return Machine(
        device=site.device,
        precision=fast_precision(site.device),
        ncnn=find_spec("ncnn") is not None,
        encoders=available_encoders(),
        flash=flash,
        obstacle=obstacle,
    )


def flash_at(options: Options, site: Site) -> tuple[Flash | None, str]:
    """Give what FlashVSR finds at `site`, or what stands in its way where it was not asked for by name."""
    device = describe(site.device)
    named = options.model == "flashvsr"
    if not named and (obstacle := unfit(device)):
        return None, obstacle
    try:
        weights = find(site.models, options.flashvsr.version, options.flashvsr.variant)
    except Unavailable as error:
        if named:
            raise
        begun = places(site.models, NUMBERS)
        return None, str(error) if begun else f"no FlashVSR weights in {site.models}"
    precision = flash_precision(device, site.device) if options.precision == "auto" else options.precision
    pace = pace_of(device, precision, site)
    return Flash(weights=weights, architecture=architecture(weights), precision=precision, pace=pace), ""


def pace_of(device: Device, precision: Precision, site: Site) -> float:
    """Give the pace of the device of `site` as it was learned. Raises Unavailable if its memory is full."""
    try:
        return Learned(site.learned).pace(device.name, precision, partial(matmul_rate, site.device, precision))
    except (RuntimeError, MemoryError) as error:
        if not is_full(error):
            raise
        raise Unavailable(
            f"{site.device}: its memory is too full to measure its pace; end what else uses it"
        ) from error


def flash_precision(device: Device, name: str) -> Precision:
    """Give the precision FlashVSR runs in: the official bf16 wherever the device computes in it."""
    if device.kind == "cpu":
        return fast_precision(name)
    return "bf16" if device.capability >= BF16 else "fp16"


@lru_cache(maxsize=4)
def architecture(weights: Weights) -> Architecture:
    """Give the widths of `weights`. Raises Unavailable if the files are not what they should be."""
    return load(weights).architecture
