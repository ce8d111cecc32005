"""Any OpenAI-compatible endpoint, for steps that change the prompt alone.

Text is asked of chat completions. Ranking needs a completions endpoint that echoes a prompt with its log-probabilities, and
renders the turns plainly; where there is none, CannotScore is raised, and the answer is generated and parsed instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tuneladder.errors import BadInput, CannotScore, Failed
from tuneladder.task.template import PlainTemplate
from tuneladder.types import Base, Decoding, Turns

A = TypeVar("A")
B = TypeVar("B")


class RemoteEngine:
    """Implements `types.Engine` over `url`, the part before `/chat/completions`.

    The key is read from the environment variable `key_env`; endpoints at home need none. `concurrency` is how many requests
    are under way at once.
    """

    def __init__(
        self, url: str, model: str, *, key_env: str = "OPENAI_API_KEY", concurrency: int = 4, timeout: float = 120.0
    ) -> None:
        from openai import OpenAI

        self.name = f"remote {model}"
        self._url = url
        self._model = model
        self._key_env = key_env
        self._concurrency = concurrency
        self._client = OpenAI(base_url=url, api_key=os.environ.get(key_env) or "none", timeout=timeout, max_retries=3)
        self._template = PlainTemplate("")

    @classmethod
    def of(cls, base: Base) -> RemoteEngine:
        """The engine of a base whose source is a url; its settings name the model, the key's variable and the concurrency."""
        return cls(
            base.location,
            str(base.settings["model"]),
            key_env=str(base.settings.get("key_env", "OPENAI_API_KEY")),
            concurrency=int(base.settings.get("concurrency", 4)),
        )

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        """`decoding.samples` answers to each ask.

        Raises BadInput for a request that is refused, Failed for an endpoint that does not answer.
        """
        return self._all(lambda turns: self._write(turns, decoding), asks)

    def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
        """The first answer, in pieces as they arrive. Raises as `generate` does, and Failed for an answer that is cut off on its
        way."""
        import openai

        given = {"top_k": decoding.top_k or None, "repetition_penalty": decoding.repetition if decoding.repetition != 1 else None}
        messages: Any = [{"role": turn.role, "content": turn.text} for turn in turns]
        ended = False
        try:
            with self._client.chat.completions.create(
                model=self._model,
                messages=messages,
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=decoding.seed,
                stop=list(decoding.stop) or None,
                extra_body={name: value for name, value in given.items() if value} or None,
                stream=True,
            ) as chunks:
                for choice in (chunk.choices[0] for chunk in chunks if chunk.choices):
                    ended |= choice.finish_reason is not None
                    if choice.delta.content:
                        yield choice.delta.content
        except openai.OpenAIError as error:
            raise self._explained(error) from error
        except ValueError as error:  # a chunk that is no JSON
            raise Failed(f"{self._url} broke off its answer: {error}", "ask again") from error
        if not ended:
            raise Failed(f"{self._url} broke off its answer", "ask again")

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural log-probability of each ending after the plainly rendered ask. Raises CannotScore."""
        pairs = []
        for turns, options in zip(asks, endings, strict=True):
            # a label that begins another would always be the likelier: both are closed by what ends an answer
            nested = any(a != b and b.startswith(a) for a in options for b in options)
            pairs += [(turns, f"{ending}\n\n" if nested else ending) for ending in options]
        if pairs:
            self._rank(*pairs[0])  # an endpoint that cannot is found out by one request
        try:
            found = iter(self._all(lambda pair: self._rank(*pair), pairs))
        except CannotScore as error:
            # it ranked the first: to generate now would mark some rows by another method than others
            raise Failed(error.message, "one of the rows may be longer than the model's context") from error
        return [[next(found) for _ in options] for options in endings]

    def _write(self, turns: Turns, decoding: Decoding) -> list[str]:
        import openai

        extra: dict[str, Any] = {}
        if decoding.top_k:
            extra["top_k"] = decoding.top_k
        if decoding.repetition != 1.0:
            extra["repetition_penalty"] = decoding.repetition
        texts: list[str] = []
        while len(texts) < decoding.samples:
            # Some endpoints give one choice whatever `n` says: ask again, with another seed.
            try:
                reply = self._client.chat.completions.create(
                    model=self._model,
                    messages=[{"role": turn.role, "content": turn.text} for turn in turns],  # type: ignore[misc]
                    max_tokens=decoding.max_new_tokens,
                    temperature=decoding.temperature,
                    top_p=decoding.top_p,
                    n=decoding.samples - len(texts),
                    seed=decoding.seed + len(texts),
                    stop=list(decoding.stop) or None,
                    extra_body=extra or None,
                )
            except openai.OpenAIError as error:
                raise self._explained(error) from error
            if not reply.choices:
                raise Failed(f"{self._url} answered without a choice")
            texts += [choice.message.content or "" for choice in reply.choices]
        return texts[: decoding.samples]

    def _rank(self, turns: Turns, ending: str) -> float:
        import openai

        prompt = "".join(part.text for part in self._template.parts(turns))
        text = f"{prompt} {ending}"
        try:
            reply = self._client.completions.create(
                model=self._model, prompt=text, max_tokens=0, echo=True, logprobs=1, temperature=0
            )
        except (openai.BadRequestError, openai.NotFoundError, openai.UnprocessableEntityError) as error:
            raise CannotScore(f"{self._url} ranks no answers: {error}") from error
        except openai.OpenAIError as error:
            raise self._explained(error) from error
        choice = reply.choices[0] if reply.choices else None
        if choice is None or choice.text != text or choice.logprobs is None or not choice.logprobs.text_offset:
            raise CannotScore(f"{self._url} does not echo a prompt with its log-probabilities")
        offsets, chances = choice.logprobs.text_offset, choice.logprobs.token_logprobs or []
        # A token counts if it holds any character of the ending, the blank before it included.
        ends = [*offsets[1:], len(text)]
        counted = [chance for chance, end in zip(chances, ends, strict=True) if end > len(prompt)]
        return sum(chance for chance in counted if chance is not None)

    def _all(self, work: Callable[[A], B], items: Sequence[A]) -> list[B]:
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _explained(self, error: Exception) -> BadInput | Failed:
        import openai

        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return BadInput(
                f"{self._url} refused the key in ${self._key_env}", f"set {self._key_env}, or name another with `key_env`"
            )
        if isinstance(error, openai.NotFoundError | openai.BadRequestError | openai.UnprocessableEntityError):
            return BadInput(
                f"{self._url} refused the request for {self._model}: {error}",
                "check the url (it often ends in /v1) and the model's name",
            )
        return Failed(f"{self._url} did not answer: {error}", "run the same command again: what is done is kept")
