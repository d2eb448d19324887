"""The server of a vision-language model: its address, whether it is ready, and what it serves

It speaks OpenAI's protocol as vLLM does (`paddleocr genai_server`): GET /health is 200 once the model is loaded, GET
/v1/models names it. Light: for whoever only wants to know whether jobs must wait.
"""

from dataclasses import dataclass
from typing import Any

import httpx

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.vl.request import Encoding

REMEDY = "start it: the job goes on once it is ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the server is and how it is to be treated."""

    url: str  # "http://host:8118/v1"; the /v1 may be left out
    model: str = ""  # as it is served; "": the only one, or the first
    api_key: str = "null"  # what PaddleOCR's own client sends where there is none
    timeout_s: float = 120.0  # for a block, tries and waits between them included
    connect_timeout_s: float = 5.0
    parallel: int = 8  # blocks in flight: people saw failures at 16 and overload at 200
    retries: int = 4  # of one block, after the first try
    image: Encoding = "jpeg"  # llama.cpp wants PNG

    @property
    def root(self) -> str:
        """The address without /v1, where /health is."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries."""
        return {"authorization": f"Bearer {self.api_key}", "accept": "application/json"}


def check_ready(url: str, timeout_s: float = 5.0) -> None:
    """Raise Unavailable if the server at `url` cannot be asked now, patient where it will pass by itself."""
    root = Server(url=url).root
    try:
        answer = httpx.get(f"{root}/health", timeout=timeout_s, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{root}: does not answer ({said(error)}); {REMEDY}", patient=_passes(error)) from error
    if (status := answer.status_code) != httpx.codes.OK:
        patient = _is_passing(status)
        remedy = REMEDY if patient else "is this the address of the server?"
        raise Unavailable(f"{root}: not ready (/health says {status}); {remedy}", patient=patient)


def served_model(server: Server) -> str:
    """Give the id under which `server` serves its model. Raises Unavailable if it is away or serves another one."""
    try:
        answer = httpx.get(
            f"{server.root}/v1/models", headers=server.headers, timeout=server.connect_timeout_s, trust_env=False
        )
        found: Any = answer.raise_for_status().json()
        models = [str(model["id"]) for model in found["data"]]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        patient = _passes(error)
        remedy = REMEDY if patient else "is this the address of vLLM, and does it ask for no key?"
        raise Unavailable(
            f"{server.root}: does not say what it serves ({said(error)}); {remedy}", patient=patient
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{server.root}/v1/models: no list of models; is this the address of vLLM?") from error
    if not models or (server.model and server.model not in models):
        wanted = server.model or "a model"
        raise Unavailable(
            f"{server.root}: serves {', '.join(models) or 'nothing'}, not {wanted}; set vl.model, or leave it out"
        )
    return server.model or models[0]


def _passes(error: Exception) -> bool:
    """Say whether waiting may help: not where the address is none, or something else answers there."""
    if isinstance(error, httpx.HTTPStatusError):
        return _is_passing(error.response.status_code)
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def _is_passing(status: int) -> bool:
    return status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR


def said(error: Exception) -> str:
    """Give the error in a few words: some of httpx's have none of their own."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
