"""Requests to a server: a bounded number of tries, each bounded in seconds and in bytes."""

import asyncio
import math
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from harness.engines.openai_answers import ERROR_BYTES, PAGE_BYTES, InvalidAnswer
from harness.errors import UserError, said
from harness.models import hub

KEY = "OPENAI_API_KEY"
CONNECT_SECONDS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
# A server may ask for a longer pause than ours; a longer one than this is not waited for.
LONGEST_ASKED_PAUSE = 120.0
# The most that openai's client opens.
MOST_CONNECTIONS = 1000
TEMPORARY = (408, 409, 429)
# Of an answer's headers no others are read; a character set of the server's choice could be any codec of Python's.
READ_HEADERS = (b"retry-after", b"location")

Ask = Callable[[openai.AsyncOpenAI, Any], Coroutine[None, None, Any]]


@dataclass(frozen=True)
class Server:
    """A server's address, and how often and how long to try. `timeout` is the seconds of one try."""

    base_url: str
    timeout: float
    retries: int
    concurrency: int = 1

    def each(self, ask: Ask, requests: Sequence, then: str, longest: int = PAGE_BYTES) -> Iterator[list]:
        """Call `ask` with each request, `concurrency` of them at a time; yields lists of what has finished.

        An answer is read up to a little more than `longest` bytes, which `ask` has to refuse.
        Raises UserError, which ends with `then`, at the first that fails for good, once what had finished before has
        been yielded.
        """
        hub.refuse_unusable_proxies()
        loop = asyncio.new_event_loop()
        client = openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=key(),
            timeout=openai.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout)),
            max_retries=0,
            http_client=_BoundedClient(longest),
            # Uncompressed answers cannot grow while they are unpacked.
            default_headers={"Accept-Encoding": "identity"},
        )
        finished: asyncio.Queue = asyncio.Queue()
        waiting = iter(requests)

        async def work() -> None:
            for request in waiting:
                try:
                    finished.put_nowait(await self._patiently(ask, client, request))
                except Exception as error:  # raised again where the iterator is read
                    finished.put_nowait(error)
                    return

        async def some() -> list:
            batch = [await finished.get()]
            while not finished.empty():
                batch.append(finished.get_nowait())
            return batch

        workers = [loop.create_task(work()) for _ in range(min(self.concurrency, len(requests)))]
        left = len(requests)
        try:
            while left:
                batch = loop.run_until_complete(some())
                left -= len(batch)
                if replies := [each for each in batch if not isinstance(each, Exception)]:
                    yield replies
                for error in (each for each in batch if isinstance(each, Exception)):
                    with _failures_named(self.base_url, then):
                        raise error
        finally:
            for worker in workers:
                worker.cancel()
            loop.run_until_complete(asyncio.gather(*workers, return_exceptions=True))
            loop.run_until_complete(client.close())
            loop.close()

    async def _patiently(self, ask: Ask, client: openai.AsyncOpenAI, request: Any) -> Any:
        """Call `ask`, again after a temporary failure; a server that hangs is asked once more, whatever is left."""
        left, pause = self.retries, FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout(self.timeout):
                    return await ask(client, request)
            except (TimeoutError, openai.APITimeoutError):
                if left <= 0:
                    raise
                left = 1
            except (InvalidAnswer, openai.APIConnectionError, openai.APIStatusError) as error:
                server_pause = _asked_pause(error)
                if left <= 0 or not _is_temporary(error) or server_pause > LONGEST_ASKED_PAUSE:
                    raise
                # Not all at the same time, if many were refused together.
                await asyncio.sleep(server_pause or pause * random.uniform(0.75, 1))
            left, pause = left - 1, min(2 * pause, LONGEST_PAUSE)


class _BoundedClient(openai.DefaultAsyncHttpxClient):
    """Reads little more of an answer than `longest` bytes, uncompressed: what is compressed is no JSON then."""

    def __init__(self, longest: int):
        super().__init__(follow_redirects=False)
        self.longest = longest

    async def send(self, request: Any, **settings: Any) -> Any:
        response = await super().send(request, **settings | {"stream": True})
        content = bytearray()
        most = self.longest if response.is_success else ERROR_BYTES
        try:
            async for part in response.aiter_raw():
                content += part
                if len(content) > most:
                    break
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() in READ_HEADERS]
        return type(response)(response.status_code, headers=headers, content=bytes(content), request=request)


def key() -> str:
    """The key that a server is sent. Raises UserError if the environment has one that no header can hold."""
    key = os.environ.get(KEY, "").strip() or "none"
    if not key.isascii() or not key.isprintable():
        raise UserError(f"{KEY} in the environment has characters that no key has: set it again")
    return key


def _is_temporary(error: Exception) -> bool:
    status = getattr(error, "status_code", 500)
    return status in TEMPORARY or status >= 500


def _asked_pause(error: Exception) -> float:
    """The seconds that a server asks for by Retry-After, a number or a date; 0 if it asks for none."""
    if not isinstance(error, openai.APIStatusError):
        return 0.0
    header = error.response.headers.get("retry-after", "")
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return 0.0 if math.isnan(seconds) else max(seconds, 0.0)


@contextmanager
def _failures_named(base_url: str, then: str) -> Iterator[None]:
    """Raises UserError for what goes wrong between us and the server: one line that ends with `then`."""
    try:
        yield
    except openai.AuthenticationError as error:
        raise UserError(f"{base_url} refuses the key: set {KEY} in the environment; {then}") from error
    except (TimeoutError, openai.APITimeoutError) as error:
        raise UserError(f"{base_url} does not answer in time: raise --engine-arg timeout; {then}") from error
    except openai.APIConnectionError as error:
        raise UserError(f"{base_url} does not answer: {then}") from error
    except openai.RateLimitError as error:
        pause = _asked_pause(error)
        wait = f" (none for {pause:.10g} s)" if pause else ""
        raise UserError(f"{base_url} gets too many requests{wait}: lower --engine-arg concurrency; {then}") from error
    except openai.APIStatusError as error:
        elsewhere = error.response.headers.get("location", "")
        what = f"look there: {elsewhere}" if elsewhere and error.status_code < 400 else error.message
        raise UserError(f"{base_url} answered {error.status_code} ({said(what, 200)}): {then}") from error
    except InvalidAnswer as error:
        raise UserError(
            f"{base_url} does not answer in OpenAI's protocol ({error}): does it end in /v1? {then}"
        ) from error
