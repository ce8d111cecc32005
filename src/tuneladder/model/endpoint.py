"""Requests to an OpenAI-compatible endpoint, each tried until it answers or until it is clear that it will not.

What may pass is tried again: a refused or cut connection, a time-out, 429, 5xx, a reply that is no JSON or lacks what was asked
for. Between tries lies a wait that doubles and is drawn anew, or a longer one that the endpoint asks for (`Retry-After`), which
then holds for every request. A try is bounded as a whole: an endpoint that sends a byte now and then ends it no later. The key
stands in no error, whatever the endpoint sends back.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from tuneladder.errors import BadInput, Failed, TuneladderError
from tuneladder.store import thaw

if TYPE_CHECKING:
    import httpx2
    import openai

A = TypeVar("A")

MOST, FEW = 6, 3  # tries where the endpoint is busy or away, and where it took too long or answered what cannot be read
LONGEST_WAIT = 300.0  # seconds; an endpoint that asks for more is not waited for
BUSY = (408, 409, 425, 429)
SECRET = 16  # characters; a shorter key is a placeholder, which an answer may well hold
LENGTH = 200  # characters of what came back that an error shows
TOO_LONG = re.compile(
    r"context.?(length|window|size)|(prompt|input|messages?)\b.{0,40}too (long|many tokens)|maximum model length"
    r"|input token count.{0,40}exceeds|\binputs\W{1,3}(tokens \+ .{0,3}max_new_tokens|must have less than \d+ tokens)",
    re.IGNORECASE,
)
RENAMED = re.compile(r"(not|un)\s?supported|instead", re.IGNORECASE)
HINTS = (  # by what a refusal names
    (
        re.compile("response_?format|json_schema"),
        "`constrain: false` in the task asks without it: answers are parsed, and repaired once",
    ),
    (
        re.compile("temperature|top_p|top_k|repetition_penalty"),
        "give `decoding` a value of it that the model takes, or leave it out",
    ),
)


class Rejected(BadInput):
    """The endpoint understood, and will not: another try would be refused too."""


class Overlong(Rejected):
    """The model reads no prompt that is as long."""


class Renamed(Rejected):
    """The model takes `max_completion_tokens` where others take `max_tokens`."""


@dataclass(frozen=True)
class _Trouble:
    """A try that failed: what to raise, how often to try such a thing, how long the endpoint asks to wait, and whether it may have
    been billed all the same."""

    error: TuneladderError
    tries: int = 1
    wait: float | None = None
    billed: bool = False


class Endpoint:
    """What answers at `url`, with the key in the environment variable `key_env` where there is one.

    `timeout` bounds a try in seconds; the first wait is about `backoff` seconds; `seed` fixes how waits are drawn.
    """

    def __init__(self, url: str, *, key_env: str, timeout: float, backoff: float = 0.5, seed: int | None = None) -> None:
        from openai import AsyncOpenAI  # here, so that the seconds of the first answer do not hold its import

        self._open = AsyncOpenAI
        self.url, self._key_env, self._timeout, self._backoff = url, key_env, timeout, backoff
        self._key = os.environ.get(key_env) or ""
        self._draw = random.Random(seed)
        self._until = 0.0
        self._client: openai.AsyncOpenAI | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[asyncio.Event]:
        """Open for requests of the running loop. Once the event is set none is tried again."""
        self._halt = asyncio.Event()
        async with self._open(**self._options) as self._client:
            yield self._halt

    def chunks(self, body: Mapping[str, Any], lost: Callable[[], None]) -> Iterator[Any]:
        """The chunks of a chat's answer as they arrive. It is not tried again: what was shown cannot be taken back. `lost` is
        called where it failed and may have been billed.

        Raises as `post` does, and Failed for what breaks off.
        """
        import httpx2
        import openai

        given = {name: value for name, value in body.items() if name not in ("model", "messages")}
        try:
            with openai.OpenAI(**self._options) as client:
                asked: dict[str, Any] = {"model": body["model"], "messages": body["messages"], "extra_body": given}
                with client.chat.completions.create(**asked, stream=True) as chunks:
                    yield from chunks
        except openai.APIStatusError as error:
            raise self._refused(error.response, str(body["model"])).error from None
        except openai.APITimeoutError:
            lost()
            raise self._failed(f"did not answer in {self._timeout:g} s") from None
        except openai.APIConnectionError as error:
            if not isinstance(error.__cause__, httpx2.ConnectError):
                lost()
            raise self._failed(f"did not answer: {self._cause(error)}") from None
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:  # a chunk that is no JSON; a cut connection
            lost()
            raise self._failed(f"broke off its answer: {self._shown(str(error))}") from None

    @property
    def _options(self) -> dict[str, Any]:
        """Of a client that tries once."""
        return {"base_url": self.url, "api_key": self._key or "none", "timeout": self._timeout, "max_retries": 0}

    async def post(self, path: str, body: Mapping[str, Any], kind: type[A], lost: Callable[[], Awaitable[None]]) -> A:
        """What `path` answers, read as `kind`; `lost` is awaited for every try that failed and may have been billed.

        Raises Rejected, BadInput for a key that is refused, and Failed.
        """
        tries = 0
        while True:
            await self._rest(self._until - time.monotonic())
            if self._halt.is_set():
                raise self._failed("was not asked: another request had failed")
            found = await self._once(path, body, kind)
            if not isinstance(found, _Trouble):
                return found
            tries += 1
            if found.billed:
                await lost()
            if found.wait is not None:
                self._until = max(self._until, time.monotonic() + min(found.wait, LONGEST_WAIT))
            if tries >= found.tries or self._halt.is_set() or (found.wait or 0.0) > LONGEST_WAIT:
                if tries > 1:
                    found.error.message += f" ({tries} tries)"
                raise found.error
            await self._rest(min(self._backoff * 2.0 ** (tries - 1), 30.0) * self._draw.uniform(0.5, 1.5))

    async def _rest(self, seconds: float) -> None:
        """Wait, unless the rest of the requests has come to nothing meanwhile."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._halt.wait(), seconds)

    async def _once(self, path: str, body: Mapping[str, Any], kind: type[A]) -> A | _Trouble:
        import httpx2
        import openai

        assert self._client is not None
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.post(path, cast_to=httpx2.Response, body=dict(body))
        except (TimeoutError, openai.APITimeoutError):
            return _Trouble(self._failed(f"did not answer in {self._timeout:g} s"), FEW, billed=True)
        except openai.APIStatusError as error:
            return self._refused(error.response, str(body["model"]))
        except openai.APIConnectionError as error:
            reached = not isinstance(error.__cause__, httpx2.ConnectError)
            return _Trouble(self._failed(f"did not answer: {self._cause(error)}"), MOST, billed=reached)
        return self._read(response, kind)

    def _read(self, response: httpx2.Response, kind: type[A]) -> A | _Trouble:
        """A 2xx reply as `kind`. The content type does not matter where the content is right."""
        text = response.text
        if len(self._key) >= SECRET and self._key in text:
            hint = "an endpoint that does so is not to be trusted with it"
            return _Trouble(Failed(f"{self.url} sent the key in ${self._key_env} back: its answer is not kept", hint), billed=True)
        try:
            data = json.loads(response.content)
        except (ValueError, RecursionError):
            sent = response.headers.get("content-type") or "no content type"
            said = f"answered with what is no JSON ({self._shown(sent)}): {self._shown(text) or 'nothing'}"
            return _Trouble(self._failed(said), FEW, billed=True)
        try:
            return thaw(kind, data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the reply"
            said = f"answered otherwise than asked ({place}: {first['msg'].lower()}): {self._shown(text)}"
            return _Trouble(self._failed(said), FEW, billed=True)

    def _refused(self, response: httpx2.Response, model: str) -> _Trouble:
        status, said = response.status_code, self._shown(response.text)
        what = f"answered {status}{f': {said}' if said else ''}"
        if status in (401, 403):
            unset = "" if self._key else ", which is not set"
            hint = f"set {self._key_env}, or name another with `key_env`"
            return _Trouble(BadInput(f"{self.url} refused the key in ${self._key_env}{unset} ({status}: {said})", hint))
        if status == 429 and "insufficient_quota" in response.text:
            return _Trouble(Failed(f"{self.url} has no credit left for this key: {said}", "top it up: what is done is kept"))
        if status in BUSY or (status >= 500 and status != 501):
            wait = asked_wait(response.headers)
            if wait is not None and wait > LONGEST_WAIT:
                what += f", and asks to wait for {wait:,.0f} s"
            return _Trouble(self._failed(what), MOST, wait)
        refused = f"{self.url} refused the request for {model}: it {what}"
        if status in (400, 413, 422) and TOO_LONG.search(response.text):
            hint = "shorter rows or a lower max_new_tokens, or a model with a longer context: what is done is kept"
            return _Trouble(Overlong(refused, hint))
        url = "check the url (it often ends in /v1) and the model's name"
        if status not in (400, 422):
            return _Trouble(Rejected(refused, url))
        if "max_completion_tokens" in response.text and RENAMED.search(response.text):
            return _Trouble(Renamed(refused, url))
        return _Trouble(Rejected(refused, next((hint for named, hint in HINTS if named.search(response.text)), url)))

    def _failed(self, what: str) -> Failed:
        return Failed(f"{self.url} {what}", "run the same command again: what is done is kept")

    def _cause(self, error: BaseException) -> str:
        """The innermost reason of a connection that failed."""
        while (inner := error.__cause__ or error.__context__) is not None:
            error = inner
        return self._shown(str(error)) or type(error).__name__

    def _shown(self, text: str) -> str:
        """What came back, on one line, short, without the key and without what a terminal would obey."""
        if self._key:
            text = text.replace(self._key, f"${self._key_env}")
        folded = "".join(each if each.isprintable() else " " for each in " ".join(text[: 4 * LENGTH].split()))
        return folded if len(folded) <= LENGTH else f"{folded[: LENGTH - 1]}…"


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3); None where there is none that can be read."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
