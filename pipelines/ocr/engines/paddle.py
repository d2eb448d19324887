"""The engine paddleocr: PaddleOCR 3, or PP-StructureV3, on models of the user's own that lie in a folder

`PaddleOCR` was run on ONNX models, without network and without paddlepaddle. `PPStructureV3` was put together and ran
with stand-ins for its models of layout, for its weights cannot be had offline: its tables were not seen, and are read
as the source of paddlex 3.7.2 writes them. Neither was run on a GPU, nor on paddlepaddle.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import Reading, digests, load
from darkroom.pipelines.ocr.outputs.cells import cells_of, html_of
from darkroom.pipelines.ocr.page import Kind, Line, Polygon, Region, Table
from darkroom.pipelines.ocr.picture import Picture

TEXT = ("text_detection", "text_recognition")  # each a folder, and the first words of two of paddleocr's arguments
STRUCTURE = (
    *TEXT,
    "textline_orientation",  # off, but its pipeline of tables has an OCR of its own, where nothing turns it off
    "layout_detection",
    "region_detection",
    "table_classification",
    "table_orientation_classify",
    "wired_table_structure_recognition",
    "wireless_table_structure_recognition",
    "wired_table_cells_detection",
    "wireless_table_cells_detection",
)
UNUSED = ("doc_orientation_classify", "doc_unwarping", "textline_orientation")  # on by default, each with a model
UNUSED_IN_STRUCTURE = (*UNUSED, "formula_recognition", "seal_recognition", "chart_recognition")
DETECTION_SIDE = 1280  # pixels the longer side is scaled to for finding lines; its own 4000 shatters large type
CUDA = "CUDAExecutionProvider"
CONFIG, ONNX = "inference.yml", "inference.onnx"
PADDLE = ("inference.pdiparams", "inference.pdparams", "model_state.pdparams", "model.safetensors")
GRAPHS = ("inference.json", "inference.pdmodel")  # beside the weights, of some models

KINDS: dict[str, Kind] = {  # of PP-DocLayout's labels; all others are text
    **dict.fromkeys(("doc_title", "paragraph_title", "abstract_title", "content_title", "reference_title"), "title"),
    **dict.fromkeys(("image", "figure", "chart", "flowchart", "seal"), "figure"),
    **dict.fromkeys(("figure_title", "chart_title", "figure_table_chart_title"), "figure_caption"),
    "table": "table",
    "table_title": "table_caption",
    **dict.fromkeys(("header", "header_image"), "header"),
    **dict.fromkeys(("footer", "footer_image", "footnote", "number"), "footer"),
    **dict.fromkeys(("reference", "reference_content"), "reference"),
    **dict.fromkeys(("formula", "formula_number"), "equation"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paddle:
    """PaddleOCR with its models loaded."""

    name: str
    version: str
    models: Mapping[str, str]
    provider: str
    warnings: tuple[str, ...]
    engine: Any  # paddleocr.PaddleOCR or PPStructureV3

    def read(self, picture: Picture) -> Reading:
        """Give the lines of `picture`; of PP-StructureV3 the regions and tables too.

        Raises Unavailable if the engine says that it cannot.
        """
        bgr = np.ascontiguousarray(picture.rgb[:, :, ::-1])
        (page,) = self.engine.predict_iter(bgr)
        if "error" in page:
            raise Unavailable(f"paddleocr: {page['error']}; choose another engine")
        found = reading_of(page.json["res"], picture.width, picture.height)
        del page
        gc.collect()  # it keeps pages in circles of references: memory grows by each
        return found


def open_paddle(*, models: Path, device: str = "cpu", structure: bool = False, threads: int = 0) -> Paddle:
    """Give the engine with its models in memory.

    models:    folder with a folder for each of TEXT, or of STRUCTURE: in it inference.yml and either inference.onnx or
               Paddle's own weights, which need paddlepaddle; all of one sort
    device:    "cpu", "cuda", "cuda:1"
    structure: find regions and tables too, by PP-StructureV3
    threads:   on a CPU; 0: the library's choice

    Raises Unavailable if a package or a model is missing, before anything could be fetched instead.
    """
    folders = {role: models / role for role in (STRUCTURE if structure else TEXT)}
    named = {role: _model_name(folder) for role, folder in folders.items()}
    onnx = _is_onnx(folders)
    paddleocr = _load_paddleocr(onnx)
    build = paddleocr.PPStructureV3 if structure else paddleocr.PaddleOCR
    try:
        engine = build(**_settings(folders, named, onnx, device, structure, threads))
    except Exception as error:  # of each runtime and each model another class
        said = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        raise Unavailable(f"{models}: paddleocr cannot load its models ({said}); put whole ones there") from error
    provider, warnings = _provider(engine, onnx, device)
    return Paddle(
        name="paddleocr",
        version=str(paddleocr.__version__),
        models=_digests(folders),
        provider=provider,
        warnings=warnings,
        engine=engine,
    )


def reading_of(found: Mapping[str, Any], width: int, height: int) -> Reading:
    """Give what is in `found`, the JSON of a page [width x height] of either engine, without infinities."""
    said = found.get("overall_ocr_res", found)
    rows = [*zip(said["rec_texts"], said["rec_scores"], said["rec_polys"], strict=True)]
    ordered = sorted(found.get("parsing_res_list", ()), key=_place)
    regions = tuple(_region(block, width, height) for block in ordered)
    tables = (
        Table(box=region.box, html=html_of(cells))
        for region, block in zip(regions, ordered, strict=True)
        if region.kind == "table" and (cells := cells_of(str(block["block_content"])))
    )
    wild = sum(not isfinite(score) or not np.isfinite(np.array(corners)).all() for _, score, corners in rows)
    return Reading(
        lines=tuple(_within(_line(*row, width, height), regions) for row in rows if row[0].strip()),
        regions=regions,
        tables=tuple(tables),
        warnings=(f"paddleocr: {wild} lines have no finite score or place; those are guesses",) if wild else (),
    )


def _line(text: str, score: float, corners: Any, width: int, height: int) -> Line:
    return Line(
        text=text,
        score=round(min(1.0, max(0.0, score)), 4) if isfinite(score) else 0.0,
        polygon=_polygon(_finite(corners, width, height)),
    )


def _region(block: Mapping[str, Any], width: int, height: int) -> Region:
    (left, top), (right, bottom) = _finite(np.reshape(block["block_bbox"], (2, 2)), width, height).tolist()
    return Region(kind=KINDS.get(block["block_label"], "text"), box=(left, top, right, bottom))


def _place(block: Mapping[str, Any]) -> tuple[bool, int]:
    """Give where `block` stands in the reading order; what has no place in it comes last."""
    order = block.get("block_order")
    return order is None, order or 0


def _within(line: Line, regions: Sequence[Region]) -> Line:
    """Give `line` with the smallest of `regions` around its middle."""
    x, y = (sum(axis) / 4 for axis in zip(*line.polygon, strict=True))
    around = [
        ((right - left) * (bottom - top), index)
        for index, (left, top, right, bottom) in enumerate(region.box for region in regions)
        if left <= x <= right and top <= y <= bottom
    ]
    return replace(line, region=min(around)[1]) if around else line


def _finite(corners: Any, width: int, height: int) -> NDArray[np.float64]:
    """Give `corners`, [N, 2], within the page: what is not a number is 0."""
    most = np.array([width, height], dtype=np.float64)
    return np.nan_to_num(np.array(corners, dtype=np.float64), posinf=1e9).clip(0, most).round(1)


def _polygon(corners: NDArray[np.float64]) -> Polygon:
    if len(corners) != 4:  # of bent text: the box around it
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    a, b, c, d = ((float(x), float(y)) for x, y in corners)
    return a, b, c, d


def _model_name(folder: Path) -> str:
    """Give the name of the model in `folder`: told another one, paddleocr refuses it; told none, it fetches its own."""
    config = folder / CONFIG
    try:
        name = yaml.safe_load(config.read_text(encoding="utf-8"))["Global"]["model_name"]
    except OSError as error:
        raise Unavailable(f"{config}: the model is not there ({error.strerror}); put its folder there") from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise Unavailable(f"{config}: does not name its model; put the whole folder of the model there") from error
    return str(name)


def _is_onnx(folders: Mapping[str, Path]) -> bool:
    """Say whether all models are ONNX and not Paddle's own. Raises Unavailable if they are neither."""
    if all((folder / ONNX).is_file() for folder in folders.values()):
        return True
    for folder in folders.values():
        if not any((folder / weights).is_file() for weights in PADDLE):
            raise Unavailable(f"{folder}: no {PADDLE[0]}, nor all models as {ONNX}; put whole folders there")
    return False


def _load_paddleocr(onnx: bool) -> Any:
    runtime = "onnxruntime" if onnx else "paddle"
    if find_spec(runtime) is None:
        package = "onnxruntime" if onnx else "paddlepaddle"
        raise Unavailable(f"{package}: not installed, and these models need it; pip install {package}")
    try:
        return load("paddleocr", "paddleocr", "ocr-paddle")
    except OSError as error:
        raise Unavailable(
            f"paddleocr: cannot be loaded ({error}); set PADDLE_PDX_CACHE_HOME to a folder it may write"
        ) from error


def _settings(
    folders: Mapping[str, Path],
    named: Mapping[str, str],
    onnx: bool,
    device: str,
    structure: bool,
    threads: int,
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        **{f"{role}_model_dir": str(folder) for role, folder in folders.items()},
        **{f"{role}_model_name": name for role, name in named.items()},
        **{f"use_{part}": False for part in (UNUSED_IN_STRUCTURE if structure else UNUSED)},
        "device": device.replace("cuda", "gpu"),
        "text_det_limit_type": "max",
        "text_det_limit_side_len": DETECTION_SIDE,
        "text_rec_score_thresh": 0.0,  # weak lines are the outputs' to leave out
    }
    if onnx:
        return settings | {"engine": "onnxruntime"} | ({"engine_config": _on_threads(threads)} if threads else {})
    # The cache is one entry for each size of picture, and never given back.
    return settings | {"mkldnn_cache_capacity": 1} | ({"cpu_threads": threads} if threads else {})


def _on_threads(threads: int) -> dict[str, int]:
    return {"intra_op_num_threads": threads}


def _provider(engine: Any, onnx: bool, device: str) -> tuple[str, tuple[str, ...]]:
    """Give what computes, and a warning where that is not what was asked for."""
    if not onnx:
        return f"paddle {device.replace('cuda', 'gpu')}", ()
    found = sorted({str(session.get_providers()[0]) for session in _sessions(engine)})
    provider = " ".join(("onnxruntime", *found))
    if device == "cpu" or found == [CUDA]:
        return provider, ()
    return provider, (f"device: {device}: reads on the CPU, for onnxruntime cannot load its CUDA libraries",)


def _sessions(engine: Any) -> Iterator[Any]:
    """Yield the sessions of onnxruntime in `engine`: it has no word for them."""
    seen, left = set(), [engine]
    while left:
        thing = left.pop()
        if id(thing) in seen or not type(thing).__module__.startswith("paddle"):
            continue
        seen.add(id(thing))
        if session := getattr(thing, "session", None):
            yield session
        left += vars(thing).values()


def _digests(folders: Mapping[str, Path]) -> dict[str, str]:
    """Give the digests of all files that make a model, by role and name: each model calls its files the same."""
    files = (CONFIG, ONNX, *PADDLE, *GRAPHS)
    return {
        f"{role}/{name}": digest
        for role, folder in folders.items()
        for name, digest in digests(folder / file for file in files if (folder / file).is_file()).items()
    }
