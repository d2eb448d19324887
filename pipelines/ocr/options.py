"""What a user may choose about reading documents: the engine, which pages, what comes out"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from darkroom.pipelines.ocr.page_range import parse_pages
from darkroom.pipelines.trust import OWNERS, BelowModels

EngineName = Literal["rapidocr", "tesseract", "paddleocr", "vl"]
Output = Literal["txt", "json", "md", "pdf", "pdfa", "hocr", "xlsx"]
Structure = Literal["off", "tables", "full"]


def _page_range(text: str) -> str:
    parse_pages(text, 1)
    return text


# YAML makes a number of `pages: 3`, and a truth value of `off`.
PageRange = Annotated[str, AfterValidator(_page_range), BeforeValidator(lambda raw: str(raw).strip())]
OffOrText = BeforeValidator(lambda raw: "off" if raw is False else raw)


class VLOptions(BaseModel):
    """The engine `vl`: a PaddleOCR-VL server that answers as OpenAI's does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        "http://127.0.0.1:8118/v1",
        pattern=r"^https?://[^\s]+$",
        description="where the server answers; pictures of your pages go there; no sidecar can change it",
        json_schema_extra=OWNERS,  # or whoever may write in the inbox could make us ask any address
    )
    model: str | None = Field(None, description="name the server knows its model by; null: the one it names")
    connect_timeout_s: float = Field(5.0, gt=0, le=600, description="seconds to wait for a connection")
    timeout_s: float = Field(120.0, gt=0, le=3600, description="seconds to wait for the answer about one block")
    parallel: int = Field(8, ge=1, le=64, description="blocks of a page that are asked for at once")
    retries: int = Field(4, ge=0, le=20, description="further tries of a block that failed in a way that may pass")
    fallback: bool = Field(True, description="read a block that fails for good by rapidocr, and say so")


class Options(BaseModel):
    """Options of the pipeline `ocr`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineName = Field(
        "rapidocr",
        description="rapidocr: good at all; tesseract: cheap, for clean Latin print; paddleocr: your models; "
        "vl: asks a server",
    )
    model: Literal["small", "tiny", "custom"] = Field(
        "small", description="of rapidocr; tiny: three times as fast, a little less exact; custom: those in model_dir"
    )
    runtime: Literal["onnxruntime", "openvino", "cuda"] = Field(
        "onnxruntime", description="what computes for rapidocr; openvino: twice as fast on a CPU, where installed"
    )
    model_dir: BelowModels | None = Field(
        None,
        description="folder of your own models (det.onnx, rec.onnx, keys.txt; of paddleocr one for each), below models",
    )
    lang: str = Field(
        "",
        pattern=r"^[A-Za-z_+/-]*$",
        description='of tesseract, as it names its languages: "eng", "deu+eng"; the others need none',
    )
    dpi: int = Field(200, ge=72, le=600, description="pixels per inch at which pages of a PDF are drawn to be read")
    mode: Literal["skip", "redo", "force"] = Field(
        "skip",
        description="pages with text of their own; skip: take it; redo: read again what an earlier OCR hid there; "
        "force: read all",
    )
    pages: PageRange = Field("", description='which pages: "1-3,7,10-"; empty: all')
    orientation: Annotated[Literal["auto", "off"], OffOrText] = Field(
        "auto", description="auto: turn pages that lie on a side or stand on their head"
    )
    structure: Annotated[Structure, OffOrText] = Field(
        "off", description="tables: find tables; full: titles, figures, captions, headers and footers too"
    )
    outputs: tuple[Output, ...] = Field(
        ("pdf", "txt", "json"),
        min_length=1,
        description="files to make: txt, json, md, pdf (searchable), pdfa (PDF/A-2b), hocr, xlsx (tables)",
    )
    min_score: float = Field(
        0.5, ge=0, le=1, description="lines the engine is less sure of stay out of all outputs but json and hocr"
    )
    workers: int = Field(
        1, ge=1, le=64, description="pages read at once, each by an engine of its own: more memory, for many cores"
    )
    vl: VLOptions = Field(VLOptions(), description="the engine vl")

    @model_validator(mode="after")
    def _own_models(self) -> Self:
        if self.model == "custom" and self.model_dir is None:
            raise ValueError("model: custom needs model_dir, the folder of your det.onnx and rec.onnx")
        return self

    @model_validator(mode="after")
    def _each_output_once(self) -> Self:
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError(f"outputs names one twice: {', '.join(self.outputs)}")
        if {"pdf", "pdfa"} <= {*self.outputs}:
            raise ValueError("outputs: pdf and pdfa would get one name; keep pdfa, it is a searchable PDF too")
        return self

    @model_validator(mode="after")
    def _tables_for_sheets(self) -> Self:
        if "xlsx" in self.outputs and self.structure == "off":
            raise ValueError("outputs: xlsx holds tables, and structure is off; set structure: tables")
        return self
