"""Any OpenAI-compatible endpoint, for steps that change the prompt alone.

Text is asked of chat completions. Ranking needs a completions endpoint that echoes a prompt with its log-probabilities, and
renders the turns plainly; where there is none, CannotScore is raised, and the answer is generated and parsed instead. Every
answer is kept under all that decides it (url, model, messages, decoding, seed), and is not paid for again.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import uuid4

from pydantic import Field, FiniteFloat, NonNegativeInt, ValidationError

from tuneladder.errors import CannotScore, Failed
from tuneladder.model.endpoint import Endpoint, Overlong, Rejected, Renamed
from tuneladder.model.kept import Kept, Paid
from tuneladder.model.purse import Prices, Purse
from tuneladder.store import Store, digest, thaw
from tuneladder.task.encode import without_oldest
from tuneladder.task.schema import is_strict
from tuneladder.task.template import PlainTemplate
from tuneladder.types import Base, Cost, Decoding, Turns

A = TypeVar("A")
B = TypeVar("B")

Said = tuple[str, str]  # a text, and why it ended: "stop", "length", "content_filter", "" where nobody knows

_Row = tuple[Turns, tuple[str, ...]]  # an ask, and the endings that are ranked after it

FIRST = 4  # asks whose answers are looked at before the rest is paid for


# ---- what an endpoint has to answer; whatever else it says is passed over ----


@dataclass(frozen=True)
class _Usage:
    prompt_tokens: NonNegativeInt | None = None
    completion_tokens: NonNegativeInt | None = None


@dataclass(frozen=True)
class _Message:
    content: str | None = None


@dataclass(frozen=True)
class _Choice:
    message: _Message
    finish_reason: str | None = None


@dataclass(frozen=True)
class _Chat:
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


@dataclass(frozen=True)
class _Chances:
    token_logprobs: list[FiniteFloat | None] | None = None
    text_offset: list[int] | None = None


@dataclass(frozen=True)
class _Echo:
    text: str
    logprobs: _Chances | None = None


@dataclass(frozen=True)
class _Completion:
    choices: Annotated[list[_Echo], Field(min_length=1)]
    usage: _Usage | None = None


class RemoteEngine:
    """Implements `types.Engine` over `url`, the part before `/chat/completions`.

    The key is read from the environment variable `key_env`; endpoints at home need none. `concurrency` is how many requests are
    under way at once, `timeout` the seconds after which one of them is given up. Answers are kept in `store`, or as long as the
    engine lives; `purse` is what pays for them by `prices`. `backoff` and `seed` say how long is waited before another try.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str = "OPENAI_API_KEY",
        concurrency: int = 4,
        timeout: float = 120.0,
        prices: Prices | None = None,
        store: Store | None = None,
        purse: Purse | None = None,
        backoff: float = 0.5,
        seed: int | None = None,
    ) -> None:
        self.name = f"remote {model}"
        self.paid = Cost()
        self.cut = 0  # asks from which shots were left out
        self.ended: Counter[str] = Counter()  # answers by why they did; `empty` are those at their length with nothing said
        self._url, self._model, self._concurrency, self._prices = url, model, concurrency, prices
        self._endpoint = Endpoint(url, key_env=key_env, timeout=timeout, backoff=backoff, seed=seed)
        self._kept = Kept(store, f"answers-{digest(url, model)}")
        self._renamed = False  # the model was found to take `max_completion_tokens`
        self._purse = purse or Purse()
        self._template = PlainTemplate("")

    @classmethod
    def of(cls, base: Base, *, store: Store | None = None, purse: Purse | None = None) -> RemoteEngine:
        """The engine of a base whose source is a url; its settings are those of a recipe."""
        prices = base.settings.get("prices")
        return cls(
            base.location,
            str(base.settings["model"]),
            key_env=str(base.settings.get("key_env", "OPENAI_API_KEY")),
            concurrency=int(base.settings.get("concurrency", 4)),
            timeout=float(base.settings.get("timeout", 120.0)),
            prices=Prices(prices["input"], prices["output"]) if prices else None,
            store=store,
            purse=purse,
        )

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        """`decoding.samples` answers to each ask; one that is longer than the model's context loses its oldest exchanges one by
        one.

        Raises BadInput for a request that is refused, Failed for an endpoint that does not answer or a purse that is empty, and
        before all is paid for where the first answers are empty, and all their tokens spent.
        """
        found = self._all(lambda turns: self._fitted(turns, decoding), asks, lambda first: self._look(first, decoding))
        self.ended.update(why for said in found for _, why in said)
        self.ended["empty"] += sum(_spent(each) for said in found for each in said)
        return [[text for text, _ in said] for said in found]

    def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
        """The first answer, in pieces as they arrive, neither kept nor tried again. Where it is priced, and the endpoint does not
        say what it bills or is not heard to its end, the most that it may cost counts against what is allowed.

        Raises as `generate` does, and Failed for an answer that is cut off on its way.
        """
        ended, billed, used = False, False, _Usage()
        body = {**self._body(turns, decoding), "seed": decoding.seed}

        def lost() -> None:
            nonlocal billed
            billed = True

        with self._purse.lending(self._most(body)) as lose:
            try:
                for chunk in self._chunks(body, lost):
                    billed = True
                    try:
                        said = [(choice.delta.content, choice.finish_reason) for choice in (chunk.choices or ())[:1]]
                    except AttributeError:  # nobody has checked yet what a chunk holds
                        break
                    used = _usage(chunk) or used
                    for text, reason in said:
                        ended |= reason is not None
                        if text:
                            yield text
            finally:
                if ended and used.prompt_tokens is not None and used.completion_tokens is not None:
                    cost = self._cost(Paid(None, used.prompt_tokens, used.completion_tokens, 0.0))
                    self._purse.pay(uuid4().hex, cost)  # asked again it is billed again
                    self.paid = _sum([self.paid, cost])
                elif billed:
                    lose()
        if not ended:
            raise Failed(f"{self._url} broke off its answer", "ask again")

    def _chunks(self, body: Mapping[str, Any], lost: Callable[[], None]) -> Iterator[Any]:
        """The chunks of an answer, and what it is billed as where that is priced and the endpoint tells it."""
        more: dict[str, Any] = {"stream_options": {"include_usage": True}} if self._prices else {}
        while True:
            sent = self._named({**body, **more})
            try:
                yield from self._endpoint.chunks(sent, lost)
                return
            except Rejected as error:
                if isinstance(error, Renamed) and "max_tokens" in sent:
                    self._renamed = True
                elif more and "stream_options" in error.message:
                    more = {}
                else:
                    raise

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural log-probability of each ending after the plainly rendered ask; one that is longer with any of its endings than
        the model's context loses its oldest exchanges, before all of them. Raises CannotScore, and as `generate` does."""
        rows = list(zip(asks, map(_closed, endings), strict=True))
        kept = {row: row[0] for row in rows}

        async def rank(pair: tuple[_Row, str]) -> tuple[tuple[Turns, float], Cost]:
            row, ending = pair
            while True:
                turns = kept[row]
                try:
                    chance, cost = await self._rank(turns, ending)
                except Overlong:
                    if kept[row] == turns:  # else another ending of the row has shortened it meanwhile
                        if (fewer := without_oldest(turns)) is None:
                            raise
                        kept[row] = fewer
                else:
                    return (turns, chance), cost

        pairs = [(row, ending) for row in rows for ending in row[1]]
        # an endpoint that cannot is found out by one request
        found = dict(zip(pairs[:1], self._all(rank, pairs[:1]), strict=True))
        todo = pairs[1:]
        try:
            while todo:
                found.update(zip(todo, self._all(rank, todo), strict=True))
                # what stood after exchanges that another ending of its row had no room for is ranked anew
                todo = [pair for pair in pairs if found[pair][0] != kept[pair[0]]]
        except CannotScore as error:
            # it ranked the first: to generate now would mark some rows by another method than others
            raise Failed(error.message, "one of the rows may be longer than the model's context") from None
        self.cut += sum(turns != row[0] for row, turns in kept.items())
        return [[found[row, ending][1] for ending in row[1]] for row in rows]

    def _body(self, turns: Turns, decoding: Decoding) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": turn.role, "content": turn.text} for turn in turns],
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
        }
        if decoding.stop:
            body["stop"] = list(decoding.stop)
        if decoding.top_k:
            body["top_k"] = decoding.top_k
        if decoding.repetition != 1.0:
            body["repetition_penalty"] = decoding.repetition
        if decoding.schema:
            schema = json.loads(decoding.schema)
            shape = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body

    def _look(self, first: Sequence[list[Said]], decoding: Decoding) -> None:
        """Raises Failed where the first answers are empty, and all their tokens spent."""
        if len(first) == FIRST and all(_spent(each) for said in first for each in said):
            raise Failed(
                f"{self._url} spent {decoding.max_new_tokens} tokens on each of the first {FIRST} answers, and said nothing",
                "raise `max_new_tokens` (a judge's or reasoning's `tokens`): a model that reasons unseen spends them first",
            )

    async def _fitted(self, turns: Turns, decoding: Decoding) -> tuple[list[Said], Cost]:
        kept = turns
        while True:
            try:
                found = await self._write(kept, decoding)
            except Overlong:
                if (fewer := without_oldest(kept)) is None:
                    raise
                kept = fewer
            else:
                self.cut += kept != turns
                return found

    async def _write(self, turns: Turns, decoding: Decoding) -> tuple[list[Said], Cost]:
        body = self._body(turns, decoding)
        said: list[Said] = []
        costs: list[Cost] = []
        while len(said) < decoding.samples:
            # Some endpoints give one choice whatever `n` says: ask again, with another seed.
            own = {**body, "n": decoding.samples - len(said), "seed": decoding.seed + len(said)}
            paid, cost = await self._answer("/chat/completions", own, _Chat, _said)
            ended = paid.ended or ("",) * len(paid.reply)  # an answer kept by an earlier version does not know
            said, costs = [*said, *zip(paid.reply, ended, strict=True)], [*costs, cost]
        return said[: decoding.samples], _sum(costs)

    async def _rank(self, turns: Turns, ending: str) -> tuple[float, Cost]:
        prompt = "".join(part.text for part in self._template.parts(turns))
        text = f"{prompt} {ending}"
        body = {"model": self._model, "prompt": text, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0}
        try:
            paid, cost = await self._answer("/completions", body, _Completion, lambda reply: _echoed(reply, text, len(prompt)))
        except Overlong:
            raise
        except Rejected as error:
            raise CannotScore(f"{self._url} ranks no answers: {error.message}") from None
        if paid.reply is None:
            raise CannotScore(f"{self._url} does not echo a prompt with its log-probabilities")
        return paid.reply, cost

    async def _answer(
        self, path: str, body: Mapping[str, Any], kind: type[A], read: Callable[[A], tuple[Any, tuple[str, ...]]]
    ) -> tuple[Paid, Cost]:
        """What `read` makes of the reply, with why its texts ended, and what it cost: kept from an earlier time, or asked now and
        kept."""
        key = digest(self._url, path, body)
        if paid := self._kept.find(key):
            cost = self._cost(paid, seconds=paid.seconds / self._concurrency)
            self._purse.pay(key, cost)
        else:
            async with self._purse.holding(self._most(body)) as lost:
                start = time.monotonic()
                reply: Any = await self._post(path, body, kind, lost)
                used = reply.usage or _Usage()
                written = used.completion_tokens if body["max_tokens"] else used.completion_tokens or 0
                said, ended = read(reply)
                paid = Paid(said, used.prompt_tokens, written, time.monotonic() - start, ended)
                self._kept.keep(key, paid)
                cost = self._cost(paid)
                self._purse.pay(key, cost)  # before what is held for it is let go
        return paid, cost

    async def _post(self, path: str, body: Mapping[str, Any], kind: type[A], lost: Callable[[], Awaitable[None]]) -> A:
        """What the endpoint answers, asked again where it has another name for the most tokens of an answer."""
        sent = self._named(body)
        try:
            return await self._endpoint.post(path, sent, kind, lost)
        except Renamed:
            if "max_tokens" not in sent or "messages" not in sent:
                raise
            self._renamed = True
            return await self._endpoint.post(path, self._named(body), kind, lost)

    def _named(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A chat's body in the model's own words; what is kept stands under ours."""
        renamed = self._renamed and "messages" in body
        return {"max_completion_tokens" if renamed and name == "max_tokens" else name: own for name, own in body.items()}

    def _cost(self, paid: Paid, *, seconds: float = 0.0) -> Cost:
        if paid.read is None or paid.written is None:
            if self._prices:
                raise Failed(
                    f"{self._url} does not say how many tokens it bills (`usage`), so that nobody knows what an answer costs",
                    "leave `prices` and `limit: money` out: the answer is kept",
                )
            return Cost(seconds=seconds)
        money = self._prices.of(paid.read, paid.written) if self._prices else 0.0
        return Cost(seconds=seconds, tokens=paid.read + paid.written, money=money)

    def _most(self, body: Mapping[str, Any]) -> float:
        """The most that a request may cost: no token is less than a byte, and a chat's template puts some around every turn."""
        if self._prices is None:
            return 0.0
        texts = [each["content"] for each in body["messages"]] if "messages" in body else [body["prompt"]]
        read = sum(len(text.encode("utf-8", "surrogatepass")) + 32 for text in texts) + 32
        return self._prices.of(read, body["max_tokens"] * body.get("n", 1))

    def _all(
        self, work: Callable[[A], Awaitable[tuple[B, Cost]]], items: Sequence[A], look: Callable[[list[B]], None] | None = None
    ) -> list[B]:
        """The work's results in order; what is asked twice is asked once. Counts what they cost. `look` sees the first results
        before there are more."""
        found: dict[A, tuple[B, Cost]] = {}
        todo = list(dict.fromkeys(items))
        if look and todo:
            first, todo = todo[:FIRST], todo[FIRST:]
            _finish(lambda: self._each(work, first, found))
            look([found[item][0] for item in first])
        if todo:
            _finish(lambda: self._each(work, todo, found))
        self.paid = _sum([self.paid, *(found[item][1] for item in items)])
        return [found[item][0] for item in items]

    async def _each(
        self, work: Callable[[A], Awaitable[tuple[B, Cost]]], items: Sequence[A], found: dict[A, tuple[B, Cost]]
    ) -> None:
        """Work on all items, so many at a time. After an error what is under way ends, for it is paid for, and no more begins."""
        todo = iter(items)
        errors: list[Exception] = []

        async def lane(halt: asyncio.Event) -> None:
            for item in todo:
                try:
                    found[item] = await work(item)
                except Exception as error:
                    errors.append(error)
                    halt.set()
                if errors:
                    return

        async with self._endpoint.opened() as halt:
            await asyncio.gather(*(lane(halt) for _ in range(min(self._concurrency, len(items)))))
        if errors:
            raise errors[0]


def _closed(endings: Sequence[str]) -> tuple[str, ...]:
    """The endings as they are ranked: one that begins another would always be the likelier, so what ends an answer closes all."""
    nested = any(a != b and b.startswith(a) for a in endings for b in endings)
    return tuple(f"{ending}\n\n" if nested else ending for ending in endings)


def _said(reply: _Chat) -> tuple[list[str], tuple[str, ...]]:
    return [choice.message.content or "" for choice in reply.choices], tuple(each.finish_reason or "" for each in reply.choices)


def _usage(chunk: Any) -> _Usage | None:
    """What the chunks so far are billed as, None where this one does not say it."""
    try:
        used = chunk.usage
        return thaw(_Usage, {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens})
    except (AttributeError, ValidationError):
        return None


def _spent(said: Said) -> bool:
    """Whether all tokens of an answer went where nobody sees them."""
    text, why = said
    return why == "length" and not text.strip()


def _echoed(reply: _Completion, text: str, read: int) -> tuple[float | None, tuple[str, ...]]:
    return _chance(reply, text, read), ()


def _chance(reply: _Completion, text: str, read: int) -> float | None:
    """The log-probability of what stands after the first `read` characters of `text`; None where the reply is no echo of it."""
    choice = reply.choices[0]
    chances = choice.logprobs.token_logprobs if choice.logprobs else None
    offsets = choice.logprobs.text_offset if choice.logprobs else None
    if choice.text != text or not chances or not offsets or len(chances) != len(offsets):
        return None
    # A token counts if it holds any character of the ending, the blank before it included; the first of a text has no chance.
    ends = [*offsets[1:], len(text)]
    counted = [chance for chance, end in zip(chances, ends, strict=True) if end > read]
    known = [chance for chance in counted if chance is not None]
    whole = len(known) == len(counted) or (len(counted) == len(chances) and None not in chances[1:])
    return sum(known) if known and whole else None


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(
        seconds=sum(cost.seconds for cost in costs),
        tokens=sum(cost.tokens for cost in costs),
        money=sum(cost.money for cost in costs),
    )


def _finish(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to its end in a thread of its own, for a notebook has a loop running already. Ctrl-C ends it at once."""
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []
    raised: list[BaseException] = []

    async def main() -> None:
        task = asyncio.ensure_future(work())
        started.append((asyncio.get_running_loop(), task))
        await task

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)  # a join without an end does not hear Ctrl-C on Windows
    except BaseException:
        for loop, task in started:
            loop.call_soon_threadsafe(task.cancel)
        thread.join(2)
        raise
    if raised:
        raise raised[0]
