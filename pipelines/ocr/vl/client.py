"""Asks the server about blocks of a page, several at once, with patience for what passes and none for what does not

The requests are those of PaddleOCR's own client, to the byte of the prompt; its habits are not: there one failed block
sinks the page, and an answer cut off at the token limit is taken for whole.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from darkroom.pipelines.ocr.vl.repeats import without_repeats
from darkroom.pipelines.ocr.vl.request import Block, Task, request_body
from darkroom.pipelines.ocr.vl.server import Server, said

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model made of a block."""

    text: str = ""
    truncated: bool = False  # it ran into the token limit, or went round in circles
    failed: str = ""  # why there is no answer


class _Passing(Exception):
    """A failure that may be over at the next try. wait_s: what the server asks for, or None."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _Lasting(Exception):
    """A failure that each try would meet again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Asks `server` for the answers of its `model`."""

    server: Server
    model: str
    sleep: Sleep = asyncio.sleep
    share: Callable[[], float] = random.random  # 0 to 1: of the longest wait

    def ask(self, blocks: Sequence[Block]) -> list[Answer]:
        """Give the answer to each of `blocks`, in their order; a block that fails says so and harms no other."""
        return asyncio.run(self._ask_all(blocks))

    async def _ask_all(self, blocks: Sequence[Block]) -> list[Answer]:
        timeout = httpx.Timeout(None, connect=self.server.connect_timeout_s)  # the rest is the block's own clock
        # The address is the user's own: no proxy of the environment in between.
        async with httpx.AsyncClient(headers=self.server.headers, timeout=timeout, trust_env=False) as http:
            free = asyncio.Semaphore(self.server.parallel)
            return await asyncio.gather(*(self._ask(http, free, block) for block in blocks))

    async def _ask(self, http: httpx.AsyncClient, free: asyncio.Semaphore, block: Block) -> Answer:
        async with free:
            body = await asyncio.to_thread(request_body, self.model, block, self.server.image)
            try:
                async with asyncio.timeout(self.server.timeout_s):
                    return await self._tries(http, block.task, body)
            except TimeoutError:
                return Answer(failed=f"no answer within {self.server.timeout_s:g} s")
            except (_Passing, _Lasting) as failure:
                return Answer(failed=str(failure))

    async def _tries(self, http: httpx.AsyncClient, task: Task, body: dict[str, Any]) -> Answer:
        for attempt in range(self.server.retries):
            try:
                return await self._try(http, task, body)
            except _Passing as failure:
                await self.sleep(self._wait_s(attempt, failure.wait_s))
        return await self._try(http, task, body)

    def _wait_s(self, attempt: int, asked_s: float | None) -> float:
        """Give how long to wait after try `attempt`: at least what was asked for, apart from the other blocks."""
        longest = FIRST_WAIT_S * 2.0**attempt
        return min(LONGEST_WAIT_S, (asked_s or 0.0) + longest * (0.5 + 0.5 * self.share()))

    async def _try(self, http: httpx.AsyncClient, task: Task, body: dict[str, Any]) -> Answer:
        try:
            response = await http.post(f"{self.server.root}/v1/chat/completions", json=body)
        except httpx.RequestError as error:  # also an answer that cannot be unpacked
            raise _Passing(f"connection failed ({said(error)})") from error
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _Passing(f"the server says {status}", retry_after_s(response.headers.get("retry-after", "")))
        if status != httpx.codes.OK:
            raise _Lasting(f"the server says {status}: {_first_words(response.text)}")
        return answer_of(response, task)


def answer_of(response: httpx.Response, task: Task = "text") -> Answer:
    """Give the answer in `response` to `task`. Raises a passing failure if it is no JSON, or not of the protocol."""
    try:
        choice: Any = response.json()["choices"][0]
        content, ended = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _Passing(f"the answer cannot be read ({type(error).__name__})") from error
    text = content if isinstance(content, str) else ""  # null: there is nothing in the block
    kept = without_repeats(text.strip(), cut=ended == "length", table=task == "table")
    return Answer(text=kept, truncated=ended == "length" or kept != text.strip())


def retry_after_s(header: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Give the seconds that a Retry-After asks to wait: a number of them, or a date; None where it says neither."""
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now()).total_seconds())
    except (ValueError, TypeError):
        return None


def _first_words(text: str) -> str:
    return " ".join(text.split())[:200] or "nothing"
