"""The pipelines by name: their options are light to read, the pipelines themselves are loaded by the worker."""

import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from pydantic import BaseModel

from darkroom.pipelines.base import Pipeline, Site
from darkroom.pipelines.errors import Unavailable

VIDEO_NAMES = "3gp asf avi divx flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf nut ogv ts vob webm wmv"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in VIDEO_NAMES.split())
DOCUMENT_NAMES = "avif bmp gif j2k jfif jp2 jpe jpeg jpg pbm pdf pgm png pnm ppm tif tiff webp"
DOCUMENT_SUFFIXES = frozenset(f".{name}" for name in DOCUMENT_NAMES.split())
IMAGE_NAMES = "avif bmp jfif jpe jpeg jpg png tif tiff webp"
IMAGE_SUFFIXES = frozenset(f".{name}" for name in IMAGE_NAMES.split())

# Libraries read these when they are imported: no maker of one is told of us, and no hub is asked for a file. Here, for
# whoever imports a library of a pipeline has imported this package; a value that the user has set stays.
DISCREET = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime since 1.29; diffusers imports it too
    "DO_NOT_TRACK": "1",  # Hugging Face's, among others
    "HF_HUB_OFFLINE": "1",
    "PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK": "True",  # else it asks four hosts whether they are there
}
os.environ.update({**DISCREET, **os.environ})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Where a pipeline lives and which files it takes."""

    name: str
    summary: str
    options: str  # "module:class" of its pydantic options; must not import torch
    pipeline: str  # "module:class" of the pipeline itself; the worker's to import
    suffixes: frozenset[str]  # of the sources it takes, lower case, with the dot
    extra: str = ""  # of the package, which brings what it imports
    crashes: int = 2  # of the worker in a row at one segment: then the file is taken for poison
    prompted: str = ""  # the option that says what to make of a source, and without which its job waits


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="upscale",
            summary="video super-resolution",
            options="darkroom.pipelines.upscale.options:Options",
            pipeline="darkroom.pipelines.upscale.pipeline:Upscale",
            suffixes=VIDEO_SUFFIXES,
        ),
        Kind(
            name="ocr",
            summary="scans, photos and PDFs to text and searchable PDF",
            options="darkroom.pipelines.ocr.options:Options",
            pipeline="darkroom.pipelines.ocr.pipeline:Ocr",
            suffixes=DOCUMENT_SUFFIXES,
            extra="ocr",
            crashes=3,  # after two, the pipeline gives the page up itself
        ),
        Kind(
            name="animate",
            summary="an image and a prompt to a video",
            options="darkroom.pipelines.animate.options:Options",
            pipeline="darkroom.pipelines.animate.pipeline:Animate",
            suffixes=IMAGE_SUFFIXES,
            extra="animate",
            prompted="prompt",
        ),
    )
}


def options_of(name: str) -> type[BaseModel]:
    """Return the options model of the pipeline `name`. Raises KeyError for an unknown one."""
    return cast(type[BaseModel], _load(KINDS[name].options))


def make(name: str, options: BaseModel, site: Site) -> Pipeline[Any, Any]:
    """Return the pipeline `name` with `options`, to run at `site`. Imports what it needs.

    Raises Unavailable where a package is not installed that comes with an extra.
    """
    try:
        made = _load(KINDS[name].pipeline)
    except ModuleNotFoundError as error:
        if not KINDS[name].extra:
            raise
        raise Unavailable(
            f"{name}: {error.name} is not installed; pip install 'darkroomd[{KINDS[name].extra}]'"
        ) from error
    return cast(Pipeline[Any, Any], made(options=options, site=site))


def _load(where: str) -> Any:
    module, name = where.split(":")
    return getattr(import_module(module), name)
