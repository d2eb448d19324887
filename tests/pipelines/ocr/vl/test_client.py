from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Barrier

import httpx
import numpy as np
import pytest
from PIL import Image
from vl_server import Step, VLServer, image_of, prompt_of, served

from darkroom.pipelines.ocr.vl.client import LONGEST_WAIT_S, Answer, Client, answer_of, retry_after_s
from darkroom.pipelines.ocr.vl.request import Block
from darkroom.pipelines.ocr.vl.server import Server


@dataclass
class Waits:
    """Waits that take no time; notes how long they would have."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def block(width: int = 64) -> Block:
    return Block(task="text", rgb=np.full((32, width, 3), 255, np.uint8))


def ask(server: VLServer, blocks: Sequence[Block], waits: Waits | None = None, **settings: float) -> list[Answer]:
    at = Server(url=server.url, **settings)  # type: ignore[arg-type]
    return Client(server=at, model="PaddleOCR-VL-0.9B", sleep=waits or Waits(), share=lambda: 0.5).ask(blocks)


def test_answers_come_in_the_order_of_the_blocks() -> None:
    with served(VLServer()) as server:
        answers = ask(server, [block(40 + 8 * index) for index in range(12)])
    assert [answer.text for answer in answers] == [f"OCR: {40 + 8 * index}x32" for index in range(12)]
    assert not any(answer.failed or answer.truncated for answer in answers)


def test_the_server_is_asked_as_by_the_real_client() -> None:
    with served(VLServer()) as server:
        ask(server, [Block(task="table", rgb=block().rgb)])
    assert server.asked == ["/v1/chat/completions"]
    (question,), (headers,) = server.questions, server.headers
    assert headers["authorization"] == "Bearer null"
    assert headers["content-type"] == "application/json"
    assert prompt_of(question) == "Table Recognition:"
    assert image_of(question).size == (64, 32)


@pytest.mark.parametrize("fault", [500, 502, 503, 429, "drop", "badjson", "garbled", "alien"])
def test_what_passes_is_tried_again(fault: Step) -> None:
    waits = Waits()
    with served(VLServer(plan=[fault, fault, fault, fault])) as server:
        (answer,) = ask(server, [block()], waits)
    assert answer == Answer(text="OCR: 64x32")
    assert len(server.questions) == 5
    assert waits.seconds == [0.375, 0.75, 1.5, 3.0], "twice as long each time, a half of it by chance"


@pytest.mark.parametrize("fault", [500, 429, "drop", "badjson"])
def test_what_does_not_pass_is_given_up_after_four_more_tries(fault: Step) -> None:
    with served(VLServer(always=fault)) as server:
        (answer,) = ask(server, [block()])
    assert answer.failed and answer.text == ""
    assert len(server.questions) == 5


@pytest.mark.parametrize("fault", [400, 404, 413])
def test_what_would_fail_again_is_not_tried_again(fault: int) -> None:
    with served(VLServer(plan=[fault])) as server:
        (answer,) = ask(server, [block()])
    assert answer.failed == f'the server says {fault}: {{"error": {{"message": "planned {fault}"}}}}'
    assert len(server.questions) == 1


def test_a_block_that_fails_harms_no_other() -> None:
    with served(VLServer(plan=[400])) as server:
        answers = ask(server, [block(), block(), block()], parallel=1)
    assert [bool(answer.failed) for answer in answers] == [True, False, False]


def test_the_server_says_how_long_to_wait() -> None:
    waits = Waits()
    with served(VLServer(plan=[429], retry_after="7")) as server:
        ask(server, [block()], waits)
    assert waits.seconds == [7.375]


def test_no_wait_is_endless() -> None:
    waits = Waits()
    with served(VLServer(plan=[503], retry_after="86400")) as server:
        ask(server, [block()], waits)
    assert waits.seconds == [LONGEST_WAIT_S]


def test_a_block_without_an_answer_in_time_fails() -> None:
    with served(VLServer(plan=["slow"])) as server:
        (answer,) = ask(server, [block()], timeout_s=0.2)
    assert answer.failed == "no answer within 0.2 s"


def test_no_more_blocks_are_in_flight_than_allowed_and_no_fewer() -> None:
    with served(VLServer(together=Barrier(8))) as server:  # answers none before eight are there
        answers = ask(server, [block()] * 24)
    assert not any(answer.failed for answer in answers)
    assert server.most_at_once == 8


def test_null_is_an_empty_block() -> None:
    with served(VLServer(plan=["null"])) as server:
        assert ask(server, [block()]) == [Answer()]


def test_an_answer_at_the_token_limit_is_truncated() -> None:
    with served(VLServer(plan=["length"])) as server:
        assert ask(server, [block()]) == [Answer(text="OCR: 64x32", truncated=True)]


def test_an_answer_that_goes_round_in_circles_is_cut_and_says_so() -> None:
    def circles(prompt: str, image: Image.Image) -> str:
        return "The keeper. " + "of the light " * 40

    with served(VLServer(reply=circles)) as server:
        assert ask(server, [block()]) == [Answer(text="The keeper. of the light", truncated=True)]


def test_a_form_that_is_not_filled_in_is_no_circle() -> None:
    form = "<fcel>Name<fcel>Date<nl>" + "<ecel><ecel><nl>" * 12

    with served(VLServer(reply=lambda prompt, image: form)) as server:
        assert ask(server, [Block(task="table", rgb=block().rgb)]) == [Answer(text=form)]


def test_no_server_at_all_is_a_failure_of_each_block() -> None:
    with served(VLServer()) as server:
        pass
    answers = ask(server, [block(), block()])
    assert all("connection failed" in answer.failed for answer in answers)


def test_nothing_is_asked_for_no_blocks() -> None:
    with served(VLServer()) as server:
        assert ask(server, []) == []
        assert not server.asked


def test_a_proxy_of_the_environment_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with served(VLServer()) as server:
        (answer,) = ask(server, [block()])
    assert not answer.failed


def test_answers_in_parts_are_not_understood() -> None:
    choice = {"message": {"content": [{"type": "text", "text": "a"}]}, "finish_reason": "stop"}
    assert answer_of(httpx.Response(200, json={"choices": [choice]})) == Answer()


def test_retry_after_is_seconds_or_a_date() -> None:
    def now() -> datetime:
        return datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    assert retry_after_s("3") == 3.0
    assert retry_after_s("Sun, 01 Mar 2026 12:00:20 GMT", now) == 20.0
    assert retry_after_s("Sun, 01 Mar 2026 11:00:00 GMT", now) == 0.0
    assert retry_after_s("") is None
    assert retry_after_s("soon") is None
