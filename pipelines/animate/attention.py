"""What computes attention: the ways the library knows, where each can run, and one of them for a job"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from diffusers import attention_backend

from darkroom.pipelines.animate.device import Accelerator, Kind
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One way of computing attention."""

    name: str  # in the options
    library: str  # in diffusers
    kind: Kind | None = None  # of device; None: any
    capability: tuple[int, int] = (0, 0)  # of CUDA devices, at least
    newest: tuple[int, int] = (99, 0)  # and at most
    halves: bool = True  # of 16 bits only
    shared: bool = True  # several devices can share a pass (ulysses)
    exact: bool = True  # but for the order of sums
    auto_from: tuple[int, int] = (0, 0)  # capability from which it is faster than those after it
    package: str = ""  # that it comes with


AMPERE, HOPPER = (8, 0), (9, 0)
SDPA = Backend(name="sdpa", library="native", halves=False)
# The fastest first. Those that fetch their code from the network are left out: nothing is fetched here.
BACKENDS = (
    Backend(name="npu", library="_native_npu", kind="npu", package="torch_npu"),
    Backend(
        name="flash3",
        library="_flash_3",
        kind="cuda",
        capability=HOPPER,
        newest=(9, 9),
        shared=False,
        package="flash_attn_3, built from the source of flash-attention (hopper)",
    ),
    Backend(name="sage", library="sage", kind="cuda", capability=AMPERE, exact=False, package="sageattention>=2.1.1"),
    Backend(name="cudnn", library="_native_cudnn", kind="cuda", capability=AMPERE, auto_from=HOPPER),
    Backend(name="flash", library="flash", kind="cuda", capability=AMPERE, package="flash-attn>=2.6.3"),
    SDPA,
)


def choose(wish: str, accelerator: Accelerator, *, precision: str, shared: bool) -> Backend:
    """Give the backend that `wish` names, for "auto" the fastest that is here and exact, and say it in the log.

    shared: several devices share each pass
    Raises Unavailable where one that was named cannot be had, with the reason.
    """
    if wish != "auto":
        backend = next(one for one in BACKENDS if one.name == wish)
        if why := obstacle(backend, accelerator, precision=precision, shared=shared):
            raise Unavailable(f"attention: {wish} {why}, or set attention: auto")
    else:
        able = (one for one in BACKENDS if one.exact and one.auto_from <= accelerator.capability)
        backend = next(one for one in able if not obstacle(one, accelerator, precision=precision, shared=shared))
    log.info("attention by %s on %s", backend.name, accelerator.name)
    return backend


def obstacle(backend: Backend, accelerator: Accelerator, *, precision: str, shared: bool) -> str:
    """Say what keeps `backend` from running there and what would help; "" where nothing does."""
    if backend.kind not in (None, accelerator.kind):
        return f"needs a device of the kind {backend.kind}, not {accelerator.kind}; name such a device"
    if accelerator.kind == "cuda" and not backend.capability <= accelerator.capability <= backend.newest:
        bounds = ".".join(map(str, backend.capability))
        most = " and below 10.0" if backend.newest < (99, 0) else ""
        has = ".".join(map(str, accelerator.capability))
        return f"needs compute capability {bounds}{most}, {accelerator.name} has {has}; take another card"
    if backend.halves and precision == "fp32":
        return "computes in 16 bits only, and this job in 32; run it on a card"
    if shared and not backend.shared:
        return "cannot share a pass among devices; set parallel.ulysses: 1"
    try:
        with attention_backend(backend.library):
            return ""
    except RuntimeError:
        return f"is not installed; pip install {backend.package}"


def by_name(name: str) -> Backend:
    """Give the backend that a plan names. Raises KeyError."""
    return {backend.name: backend for backend in BACKENDS}[name]


@contextmanager
def attending(name: str) -> Iterator[None]:
    """Compute attention by the backend `name` while this lasts.

    The library keeps one backend for the whole process, which `set_attention_backend` of any model changes for all
    models to come: so none is set on a model, and the process's own is put back in the end.
    Raises Unavailable if the backend is gone since the plan was made.
    """
    backend = by_name(name)
    with ExitStack() as put_back:
        try:
            put_back.enter_context(attention_backend(backend.library))
        except RuntimeError as error:
            raise Unavailable(f"attention: {name} is not installed any more; pip install {backend.package}") from error
        yield
