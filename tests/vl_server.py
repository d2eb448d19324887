"""A stand-in for a PaddleOCR-VL server on the loopback, with faults by plan

It speaks as vLLM does: /health, /v1/models, /v1/chat/completions. Nothing in it waits for the clock: what is slow is
held until the stand-in is closed.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Barrier, Event, Lock, Thread
from typing import Any, Literal

from patience import PATIENCE_S
from PIL import Image

Step = int | Literal["ok", "slow", "drop", "badjson", "garbled", "alien", "null", "length"]
"""What becomes of one question: a status, or an answer: late, cut off, no JSON, packed otherwise than said,
other JSON, nothing, too long"""

Reply = Callable[[str, Image.Image], str]


def says_hello(prompt: str, image: Image.Image) -> str:
    """Answer with the prompt and the size of the picture."""
    return f"{prompt} {image.width}x{image.height}"


@dataclass(kw_only=True)
class VLServer:
    """What the stand-in is to do, and what it was asked."""

    reply: Reply = says_hello
    plan: list[Step] = field(default_factory=list)  # one for each question; "ok" once they are used up
    always: Step = "ok"
    not_ready: int = 0  # so many times /health says 503
    model: str = "PaddleOCR-VL-0.9B"
    models: str = ""  # what /v1/models answers; "": the list of `model`
    retry_after: str = ""
    together: Barrier | None = None  # so many questions must be there before any is answered
    questions: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # paths
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0
    _lock: Lock = field(default_factory=Lock)
    _closing: Event = field(default_factory=Event)

    def next_step(self, question: dict[str, Any], headers: dict[str, str]) -> Step:
        """Note the question and give what is to become of it."""
        with self._lock:
            self.questions.append(question)
            self.headers.append(headers)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.plan.pop(0) if self.plan else self.always

    def answered(self) -> None:
        """Note that a question is no longer in flight."""
        with self._lock:
            self._at_once -= 1

    def is_ready(self) -> bool:
        """Say whether /health is 200, once more asked."""
        with self._lock:
            self.not_ready -= 1
            return self.not_ready < 0

    def wait_for_the_end(self) -> None:
        """Hold a slow answer until nobody waits for it."""
        self._closing.wait()

    def close(self) -> None:
        """Let go of all that is held."""
        self._closing.set()


@contextmanager
def served(server: VLServer) -> Iterator[VLServer]:
    """Serve on a free port of the loopback until the block ends."""

    class Handler(_Answers):
        stand_in = server

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.close()
        http.shutdown()
        http.server_close()
        thread.join()


def image_of(question: dict[str, Any]) -> Image.Image:
    """Give the picture that `question` is about."""
    url = question["messages"][0]["content"][0]["image_url"]["url"]
    return Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))


def prompt_of(question: dict[str, Any]) -> str:
    """Give the words of `question`."""
    return str(question["messages"][0]["content"][1]["text"])


class _Answers(BaseHTTPRequestHandler):
    stand_in: VLServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.stand_in.asked.append(self.path)
        if self.path == "/health":
            self._send(200 if self.stand_in.is_ready() else 503, b"")
        elif self.path == "/v1/models" and self.stand_in.models:
            self._send(200, self.stand_in.models.encode())
        elif self.path == "/v1/models":
            self._send_json(200, {"object": "list", "data": [{"id": self.stand_in.model, "object": "model"}]})
        else:
            self._send_json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        self.stand_in.asked.append(self.path)
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        step = self.stand_in.next_step(question, {key.lower(): value for key, value in self.headers.items()})
        try:
            if self.stand_in.together:
                self.stand_in.together.wait(timeout=PATIENCE_S)
        finally:
            self.stand_in.answered()
        if question["model"] != self.stand_in.model:
            self._send_json(404, {"error": {"message": f"The model `{question['model']}` does not exist."}})
        else:
            self._answer(step, question)

    def _answer(self, step: Step, question: dict[str, Any]) -> None:
        if isinstance(step, int):
            extra = {"Retry-After": self.stand_in.retry_after} if self.stand_in.retry_after else {}
            self._send_json(step, {"error": {"message": f"planned {step}"}}, extra)
        elif step == "slow":
            self.stand_in.wait_for_the_end()
            self.close_connection = True
        elif step == "drop":
            self.close_connection = True
            self.connection.close()
        elif step == "badjson":
            self._send(200, b'{"choices": [{"mess')
        elif step == "garbled":
            self._send(200, b"no gzip", [("Content-Encoding", "gzip")])
        elif step == "alien":
            self._send_json(200, {"object": "error"})
        else:
            text = None if step == "null" else self.stand_in.reply(prompt_of(question), image_of(question))
            ended = "length" if step == "length" else "stop"
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": ended}
            self._send_json(200, {"object": "chat.completion", "choices": [choice]})

    def _send_json(self, status: int, body: Any, extra: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), (extra or {}).items())

    def _send(self, status: int, body: bytes, extra: Iterable[tuple[str, str]] = ()) -> None:
        self.send_response(status)
        for key, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *extra):
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
