"""The remote engine against a small OpenAI-compatible server of our own on 127.0.0.1."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.endpoint import Fault, Server, serving

from tuneladder.errors import BadInput, Failed, TuneladderError
from tuneladder.model.ask import CannotScore, ask
from tuneladder.model.endpoint import Endpoint
from tuneladder.model.purse import Prices, Purse
from tuneladder.model.remote import RemoteEngine
from tuneladder.model.shortened import told_unfinished, unfinished
from tuneladder.store import Store
from tuneladder.types import Base, Decoding, Example, Prompt, Turn

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def engine_of(server: Server, **options: Any) -> RemoteEngine:
    """An engine that does not wait long."""
    return RemoteEngine(server.url, "m", **{"backoff": 0.01, "timeout": 30.0, "seed": 0, **options})


ASKS = [(Turn("system", "Be brief."), Turn("user", f"number {n}")) for n in range(12)]


def test_text_comes_back_in_order_with_all_settings(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    engine = RemoteEngine(server.url, "m", key_env="MY_KEY")
    decoding = Decoding(max_new_tokens=7, temperature=0.5, top_k=4, top_p=0.9, repetition=1.1, stop=("\n",), samples=2, seed=3)
    assert engine.generate(ASKS, decoding) == [[f"you said number {n} 3", f"you said number {n} 4"] for n in range(12)]
    path, body, key = server.seen[0]
    assert path == "/v1/chat/completions"
    assert key == "Bearer secret"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    wanted = {
        "model": "m",
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "repetition_penalty": 1.1,
        "stop": ["\n"],
    }
    assert {name: body[name] for name in wanted} == wanted


def test_endpoints_that_give_one_choice_are_asked_again(server: Server) -> None:
    server.choices = 1
    [samples] = RemoteEngine(server.url, "m").generate(ASKS[:1], Decoding(samples=3))
    assert samples == ["you said number 0 0", "you said number 0 1", "you said number 0 2"]
    assert "top_k" not in server.seen[0][1]


def test_endings_are_ranked_where_prompts_are_echoed(server: Server) -> None:
    found = RemoteEngine(server.url, "m").score([(Turn("user", "Hi"),)] * 2, [["a", "four"], ["xy"]])
    assert found == [[-2.0, -5.0], [-3.0]]  # the blank before the ending counts
    assert server.seen[0][1]["prompt"] == "Hi\nAnswer: a"


def test_answers_are_written_where_they_cannot_be_ranked(server: Server) -> None:
    server.ranks = False
    base = Base("m", "url", server.url, "decoder", 0, 0, 0, 0, 0, 0, settings={"model": "m", "concurrency": 2})
    engine = RemoteEngine.of(base)
    with pytest.raises(CannotScore):
        engine.score(ASKS[:1], [["yes", "no"]])
    rows = [Example("1", (Turn("user", "politics"),), ("politics",))]
    assert ask(engine, Prompt(ask="score"), rows, ("sports", "politics"))[0].text == "politics"


@pytest.mark.parametrize(("status", "sentence"), [(401, "refused the key in \\$MY_KEY"), (404, "refused the request for m")])
def test_refusals_say_what_to_do(server: Server, status: int, sentence: str) -> None:
    server.always = Fault(status)
    with pytest.raises(BadInput, match=sentence):
        RemoteEngine(server.url, "m", key_env="MY_KEY").generate(ASKS[:1], Decoding())


TOO_LONG = (
    '{"error": {"code": "context_length_exceeded", "message": "it has 9,000 tokens"}}',
    "This model's maximum context length is 512 tokens",
    "the request exceeds the available context size",
    "The input token count (1048999) exceeds the maximum number of tokens allowed (1048576).",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 5000",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
)


@pytest.mark.parametrize("said", TOO_LONG)
def test_a_prompt_that_is_too_long_loses_its_oldest_shots_one_by_one(server: Server, said: str) -> None:
    honest = server.answer
    server.answer = (  # type: ignore[method-assign]
        lambda path, body: Fault(400, said) if len(body["messages"]) > 4 else honest(path, body)
    )
    shots = [Turn(role, f"{role} {n}") for n in range(3) for role in ("user", "assistant")]
    engine = engine_of(server)
    asks = [(ASKS[0][0], *shots, ASKS[0][1]), ASKS[1]]
    assert engine.generate(asks, Decoding()) == [["you said number 0 0"], ["you said number 1 0"]]
    assert sorted(len(body["messages"]) for _, body, _ in server.seen) == [2, 4, 6, 8]
    (left,) = [body["messages"] for _, body, _ in server.seen if len(body["messages"]) == 4]
    assert [each["content"] for each in left] == ["Be brief.", "user 2", "assistant 2", "number 0"]
    assert engine.cut == 1


@pytest.mark.parametrize("said", ["max_tokens is too large: the maximum is 4096 tokens", "`schema.name` is too long"])
def test_a_setting_that_is_refused_costs_no_shots(server: Server, said: str) -> None:
    server.always = Fault(400, said)
    asks = [(Turn("user", "a"), Turn("assistant", "b"), ASKS[0][1])]
    with pytest.raises(BadInput, match="refused the request"):
        engine_of(server).generate(asks, Decoding())
    assert len(server.seen) == 1


def test_a_question_that_is_too_long_by_itself_is_refused(server: Server) -> None:
    server.always = Fault(400, TOO_LONG[0])
    with pytest.raises(BadInput) as refused:
        engine_of(server).generate(ASKS[:1], Decoding())
    assert refused.value.hint.startswith("shorter rows")
    assert len(server.seen) == 1


def holds(server: Server, most: int) -> None:
    """From now on it ranks no text of more characters."""
    honest = server.answer
    server.answer = (  # type: ignore[method-assign]
        lambda path, body: Fault(400, TOO_LONG[1]) if len(body["prompt"]) > most else honest(path, body)
    )


SHOWN = (*(Turn(role, f"{role} {n}") for n in range(6) for role in ("user", "assistant")), Turn("user", "Hi"))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_prompt_that_is_too_long_to_rank_after_loses_its_shots_for_all_of_its_options(
    server: Server, first: int, concurrency: int
) -> None:
    after_two = "user 4\nAnswer: assistant 4\n\nuser 5\nAnswer: assistant 5\n\nHi\nAnswer: "
    holds(server, len(after_two) + len("four"))
    rows, options = [(Turn("user", "Hi"),), SHOWN], [["a", "four"], ["six", "four", "x"]]
    rows, options = (rows[first:] + rows[:first]), (options[first:] + options[:first])
    engine = engine_of(server, concurrency=concurrency)
    found = engine.score(rows, options)
    assert found[first - 1] == [-4.0, -5.0, -2.0]
    assert found[first] == [-2.0, -5.0]
    assert engine.cut == 1
    # `six` would have stood after three exchanges, had `four` not been too long for them
    assert {after_two + each for each in options[first - 1]} <= {body["prompt"] for _, body, _ in server.seen}
    assert engine.score(rows, options) == found


def test_a_row_that_is_too_long_to_rank_by_itself_is_refused_and_no_other_method_taken(server: Server) -> None:
    holds(server, 3)
    with pytest.raises(BadInput) as refused:
        engine_of(server).score([(Turn("user", "Hi"),)], [["a"]])
    assert refused.value.hint.startswith("shorter rows")


OTHER_NAME = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def test_the_other_name_for_the_most_tokens_is_learned_from_a_refusal(server: Server, tmp_path: Path) -> None:
    honest = server.answer
    server.answer = (  # type: ignore[method-assign]
        lambda path, body: Fault(400, OTHER_NAME) if "max_tokens" in body else honest(path, body)
    )
    engine = engine_of(server, concurrency=1, store=Store(tmp_path), prices=Prices(1, 1), purse=Purse(1))
    assert engine.generate(ASKS[:3], Decoding(max_new_tokens=5))[0] == ["you said number 0 0"]
    assert [body.get("max_completion_tokens") for _, body, _ in server.seen] == [None, 5, 5, 5]
    engine.generate(ASKS[:3], Decoding(max_new_tokens=5))
    assert len(server.seen) == 4  # kept as ever
    server.always = Fault(400, OTHER_NAME)  # it takes neither
    with pytest.raises(BadInput, match="max_completion_tokens"):
        engine_of(server).generate(ASKS[:1], Decoding())
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (400, "response_format json_schema is not supported", "`constrain: false`"),
        (422, "Unsupported value: 'temperature' does not support 0 with this model", "`decoding`"),
        (400, "The model `m` does not exist", "the model's name"),
        (404, "no response_format here", "check the url"),
    ],
)
def test_a_refusal_has_the_hint_of_what_it_names(server: Server, status: int, said: str, hint: str) -> None:
    server.always = Fault(status, said)
    with pytest.raises(BadInput) as refused:
        engine_of(server).generate(ASKS[:1], Decoding())
    assert hint in refused.value.hint


def test_a_wrong_key_is_no_reason_to_write_instead_of_ranking(server: Server) -> None:
    server.always = Fault(401)
    with pytest.raises(BadInput, match="refused the key"):
        RemoteEngine(server.url, "m").score(ASKS[:1], [["a"]])


def test_an_endpoint_that_is_not_there_fails(server: Server) -> None:
    server.close()
    with pytest.raises(Failed, match="did not answer"):
        engine_of(server).generate(ASKS[:1], Decoding())


# ---- an endpoint that misbehaves: a right answer after another try, or one error that names what came back ----


def echoed(chances: str) -> str:
    """The echo of `Hi\\nAnswer: a`, with these chances of its last characters."""
    offsets = list(range(12))
    listed = ", ".join(["null", *["-1.0"] * 9, chances])
    return f'{{"choices": [{{"text": "Hi\\nAnswer: a", "logprobs": {{"token_logprobs": [{listed}], "text_offset": {offsets}}}}}]}}'


PASSING = {
    "429": (Fault(429), "answered 429: .*a fault"),
    "500": (Fault(500), "answered 500: .*a fault"),
    "503": (Fault(503, "<h1>busy</h1>", "text/html"), "answered 503: <h1>busy</h1>"),
    "closed without a word": (Fault(0), "did not answer: .*disconnected"),
    "cut": (Fault(body='{"choices": [1, 2, 3]}', sent=9), "did not answer: .*received 9 bytes, expected 22"),
    "malformed JSON": (Fault(body='{"choices": [{"message"'), r"no JSON \(application/json\): \{\"choices\": \[\{\"message\"$"),
    "a page": (Fault(body="<html>hello</html>", kind="text/html"), r"no JSON \(text/html\): <html>hello</html>"),
    "an empty body": (Fault(body=""), r"no JSON \(application/json\): nothing"),
    "a list": (Fault(body="[]"), r"the reply: .*: \[\]"),
    "empty choices": (Fault(body='{"choices": []}'), r"choices: .*at least 1 item.*: \{\"choices\": \[\]\}"),
    "an error that says 200": (Fault(body='{"error": "overloaded"}'), "choices: .*overloaded"),
    "a message of another kind": (Fault(body='{"choices": [{"message": {"content": 7}}]}'), "content: .*string"),
    "slow": (Fault(after=6), r"did not answer in [\d.]+ s"),
    "a byte now and then": (Fault(drip=0.2), r"did not answer in [\d.]+ s"),
}


SLOW = ("slow", "a byte now and then")


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again(server: Server, fault: str) -> None:
    server.faults = [PASSING[fault][0]] * 2
    engine = engine_of(server, timeout=2.0 if fault in SLOW else 30.0)
    assert engine.generate(ASKS[:1], Decoding()) == [["you said number 0 0"]]
    assert len(server.seen) == 3


@pytest.mark.parametrize("fault", PASSING)
def test_what_does_not_pass_is_one_error_that_names_it(server: Server, fault: str) -> None:
    server.always, said = PASSING[fault]
    with pytest.raises(Failed) as failed:
        engine_of(server, timeout=0.3 if fault in SLOW else 30.0).generate(ASKS[:2], Decoding())
    assert re.search(said, re.sub(r" \(\d tries\)$", "", failed.value.message)), failed.value.message
    assert failed.value.message.startswith(server.url)
    assert re.search(r"\([36] tries\)$", failed.value.message)
    assert failed.value.hint


@pytest.mark.parametrize("chance", ["NaN", "Infinity", "-Infinity"])
def test_log_probabilities_that_are_no_numbers(server: Server, chance: str) -> None:
    broken = Fault(body=echoed(f"-1.0, {chance}"))
    server.faults = [broken]
    asked = ([(Turn("user", "Hi"),)], [["a"]])
    assert engine_of(server).score(*asked) == [[-2.0]]
    server.always = broken
    with pytest.raises(Failed, match=r"token_logprobs.*finite number"):
        engine_of(server).score(*asked)


@pytest.mark.parametrize(
    "body",
    [
        echoed("-1.0, null"),  # a token of the ending has no chance: a sum without it would favour its label
        echoed("-1.0"),  # a chance too few
        '{"choices": [{"text": "a", "logprobs": null}]}',
        '{"choices": [{"text": "Hi\\nAnswer: a", "logprobs": {"content": []}}]}',
    ],
)
def test_an_echo_that_is_none_ranks_nothing(server: Server, body: str) -> None:
    server.always = Fault(body=body)
    with pytest.raises(CannotScore, match="does not echo"):
        engine_of(server).score([(Turn("user", "Hi"),)], [["a"]])


def test_rows_are_not_ranked_by_two_methods(server: Server) -> None:
    server.faults = [server.answer("/v1/completions", {"prompt": "Hi\nAnswer: a", "model": "m"})]
    server.always = Fault(400, "too long")
    with pytest.raises(Failed, match="too long") as failed:
        engine_of(server).score([(Turn("user", "Hi"),)], [["a", "b"]])
    assert not isinstance(failed.value, CannotScore)


def test_the_right_content_is_enough(server: Server) -> None:
    server.faults = [
        Fault(body=json.dumps(server.written({"messages": [{"content": "x"}], "seed": 0, "n": 1, "model": "m"})), kind="text/plain")
    ]
    assert engine_of(server).generate(ASKS[:1], Decoding()) == [["you said x 0"]]


def test_an_endpoint_is_waited_for_as_long_as_it_asks(server: Server) -> None:
    server.faults = [Fault(429, headers={"Retry-After": "0.4"})]
    engine = engine_of(server, concurrency=2)
    assert len(engine.generate(ASKS[:6], Decoding())) == 6
    first = server.times[0]
    # the other lane had asked already, and on a busy machine once more before the refusal was read; then both waited
    assert sum(time < first + 0.35 for time in server.times) <= 3


def test_an_endpoint_that_asks_for_hours_is_not_waited_for(server: Server) -> None:
    server.always = Fault(429, headers={"Retry-After": "7200"})
    with pytest.raises(Failed, match=r"answered 429.*asks to wait for 7,200 s"):
        engine_of(server).generate(ASKS[:1], Decoding())
    assert len(server.seen) == 1


def test_no_credit_is_not_tried_again(server: Server) -> None:
    server.always = Fault(429, '{"error": {"code": "insufficient_quota"}}')
    with pytest.raises(Failed, match="no credit left"):
        engine_of(server).generate(ASKS[:1], Decoding())
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "asked", [{}, {"Retry-After": "0"}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}], ids=["nothing", "no wait", "the past"]
)
def test_waits_double_and_are_drawn_by_the_seed(server: Server, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    server.always = Fault(503, headers=asked)
    waits: list[float] = []

    async def rest(endpoint: Endpoint, seconds: float) -> None:
        waits.extend([seconds] if seconds > 0 else [])

    monkeypatch.setattr(Endpoint, "_rest", rest)
    for seed in (3, 3, 4):
        with pytest.raises(Failed):
            engine_of(server, backoff=0.5, seed=seed).generate(ASKS[:1], Decoding())
    assert len(waits) == 15
    assert waits[:5] == waits[5:10] != waits[10:]
    assert all(0.25 * 2**n <= wait <= 0.75 * 2**n for n, wait in enumerate(waits[:5]))


def test_no_more_are_under_way_than_allowed(server: Server) -> None:
    server.delay = 0.1
    engine_of(server, concurrency=3).generate(ASKS, Decoding())
    assert server.most == 3


def test_after_an_error_what_is_under_way_is_kept_and_no_more_begins(server: Server, tmp_path: Path) -> None:
    honest = server.answer

    def late(path: str, body: dict[str, Any]) -> Fault:  # long after the error has come, which itself comes after all three began
        return replace(honest(path, body), after=2.0)

    server.faults, server.answer = [Fault(400, after=0.5)], late  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="answered 400"):
        engine_of(server, concurrency=3, store=Store(tmp_path)).generate(ASKS, Decoding())
    assert len(server.seen) == 3
    server.answer = honest  # type: ignore[method-assign]
    assert len(engine_of(server, store=Store(tmp_path)).generate(ASKS, Decoding())) == 12
    assert len(server.seen) == 3 + 10


def test_a_notebooks_loop_is_no_hindrance(server: Server) -> None:
    import asyncio

    async def cell() -> list[list[str]]:
        return engine_of(server).generate(ASKS[:1], Decoding())

    assert asyncio.run(cell()) == [["you said number 0 0"]]


# ---- answers that end before their end ----


def ending(server: Server, reasons: dict[str, str | None], text: str | None) -> None:
    """From now on the answers to these questions say `text`, and why they ended."""
    honest = server.answer

    def answer(path: str, body: dict[str, Any]) -> Fault:
        if (asked := body["messages"][-1]["content"]) not in reasons:
            return honest(path, body)
        choice = {"finish_reason": reasons[asked], "message": {"content": text}}
        return Fault(body=json.dumps({"choices": [choice] * body["n"], **server.usage(5, 7)}))

    server.answer = answer  # type: ignore[method-assign]


def test_answers_that_ended_before_their_end_are_counted(server: Server, tmp_path: Path) -> None:
    ending(server, {"number 1": "length", "number 5": "content_filter", "number 6": None, "number 7": "length"}, None)
    for _ in range(2):  # kept answers know it too
        engine = engine_of(server, store=Store(tmp_path))
        assert engine.generate(ASKS, Decoding(samples=2))[1] == ["", ""]
        assert unfinished(engine) == {"length": 4, "empty": 4, "content_filter": 2}
        assert len(server.seen) == 12
    assert told_unfinished(unfinished(engine), "dev") == [
        "4 answers of dev ended at the most tokens that they may have, 4 of them with nothing said: raise `max_new_tokens`",
        "2 answers of dev were cut or held back by the endpoint's content filter",
    ]
    ending(server, {"number 1": "length"}, "a begun sent")
    engine = engine_of(server)
    assert engine.generate(ASKS[1:2], Decoding()) == [["a begun sent"]]
    assert told_unfinished(unfinished(engine)) == ["1 answers ended at the most tokens that they may have: raise `max_new_tokens`"]


def test_a_model_that_spends_all_its_tokens_unseen_is_found_out_by_its_first_answers(server: Server) -> None:
    ending(server, {f"number {n}": "length" for n in range(4)}, "")
    with pytest.raises(Failed, match="spent 64 tokens on each of the first 4 answers, and said nothing") as failed:
        engine_of(server).generate(ASKS, Decoding(max_new_tokens=64))
    assert "raise `max_new_tokens`" in failed.value.hint
    assert len(server.seen) == 4  # the rest is not paid for
    assert engine_of(server).generate(ASKS[:3], Decoding()) == [[""]] * 3  # a few may be rows of their own
    assert len(engine_of(server).generate(ASKS[1:], Decoding())) == 11


def test_answers_kept_by_an_earlier_version_are_read(server: Server, tmp_path: Path) -> None:
    said = engine_of(server, store=Store(tmp_path)).generate(ASKS[:2], Decoding(samples=2))
    [path] = tmp_path.glob("answers-*.jsonl")
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    assert all(line.pop("ended") == ["stop", "stop"] for line in lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert engine_of(server, store=Store(tmp_path)).generate(ASKS[:2], Decoding(samples=2)) == said
    assert len(server.seen) == 2


# ---- what is paid for is kept ----


def test_nothing_is_paid_twice(server: Server, tmp_path: Path) -> None:
    first = engine_of(server, store=Store(tmp_path))
    said, ranked = first.generate(ASKS, Decoding()), first.score(ASKS[:2], [["a", "b"]] * 2)
    asked = len(server.seen)
    server.always = Fault(500)
    again = engine_of(server, store=Store(tmp_path))
    assert again.generate(ASKS, Decoding()) == said
    assert again.score(ASKS[:2], [["a", "b"]] * 2) == ranked
    assert len(server.seen) == asked == 12 + 4
    assert (again.paid.tokens, again.paid.money) == (first.paid.tokens, first.paid.money)
    assert again.paid.seconds > 0 == first.paid.seconds


@pytest.mark.parametrize(
    "change", ["model", "turns", "system", "temperature", "seed", "max_new_tokens", "stop", "samples", "top_k"]
)
def test_all_that_decides_an_answer_asks_anew(server: Server, tmp_path: Path, change: str) -> None:
    turns, decoding = ASKS[0], {"temperature": 0.5}
    engine_of(server, store=Store(tmp_path)).generate([turns], Decoding(**decoding))  # type: ignore[arg-type]
    model = "other" if change == "model" else "m"
    turns = (turns[0], Turn("user", "else")) if change == "turns" else turns[1:] if change == "system" else turns
    changed: dict[str, Any] = {"temperature": 0.7, "seed": 1, "max_new_tokens": 3, "stop": ("x",), "samples": 2, "top_k": 3}
    own = {**decoding, **({change: changed[change]} if change in changed else {})}
    RemoteEngine(server.url, model, store=Store(tmp_path)).generate([turns], Decoding(**own))
    assert len(server.seen) == 2


def test_another_address_asks_anew(server: Server, tmp_path: Path) -> None:
    engine_of(server, store=Store(tmp_path)).generate(ASKS[:1], Decoding())
    with serving() as other:
        engine_of(other, store=Store(tmp_path)).generate(ASKS[:1], Decoding())
        assert len(other.seen) == 1


def test_what_is_asked_twice_is_paid_once_and_priced_twice(server: Server) -> None:
    purse = Purse()
    engine = engine_of(server, prices=Prices(1e6, 0), purse=purse)
    assert engine.generate([ASKS[0]] * 3, Decoding()) == [["you said number 0 0"]] * 3
    assert len(server.seen) == 1
    assert engine.paid.money == 3 * purse.money > 0


CLIMBING = """
import signal, sys
from pathlib import Path
from tuneladder.model.remote import RemoteEngine
from tuneladder.store import Store
from tuneladder.types import Decoding, Turn
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background leaves ignored
engine = RemoteEngine(sys.argv[1], "m", concurrency=2, store=Store(Path(sys.argv[2])))
try:
    engine.generate([(Turn("user", f"number {n}"),) for n in range(12)], Decoding())
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_ends_at_once_and_keeps_what_was_paid(server: Server, tmp_path: Path, how: signal.Signals) -> None:
    slow = threading.Event()
    written = server.written

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if len(server.seen) > 5:
            slow.wait(20)
        return written(body)

    server.written = reply  # type: ignore[method-assign]
    process = subprocess.Popen([sys.executable, "-c", CLIMBING, server.url, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    late = time.monotonic() + 60
    while sum(path.read_text().count("reply") for path in tmp_path.glob("*.jsonl")) < 4 or len(server.seen) < 6:
        assert time.monotonic() < late
        time.sleep(0.02)
    process.send_signal(how)
    start = time.monotonic()
    said, _ = process.communicate(timeout=20)
    assert time.monotonic() - start < 15
    assert said == ("stopped\n" if how == signal.SIGINT else "")
    slow.set()
    kept = sum(path.read_text().count("reply") for path in tmp_path.glob("*.jsonl"))
    before = len(server.seen)
    asks = [(Turn("user", f"number {n}"),) for n in range(12)]
    assert engine_of(server, store=Store(tmp_path)).generate(asks, Decoding()) == [[f"you said number {n} 0"] for n in range(12)]
    assert len(server.seen) - before == 12 - kept


# ---- money ----


def test_tokens_and_money_are_counted(server: Server) -> None:
    engine = engine_of(server, prices=Prices(2e6, 10e6))
    engine.generate([(Turn("user", "four"),)], Decoding())
    assert engine.paid.tokens == 4 + len("you said four 0")
    assert engine.paid.money == 2 * 4 + 10 * len("you said four 0")
    engine.score([(Turn("user", "Hi"),)], [["a"]])
    assert engine.paid.money == 2 * (4 + len("Hi\nAnswer: a")) + 10 * len("you said four 0")


def test_prices_need_an_endpoint_that_says_what_it_bills(server: Server, tmp_path: Path) -> None:
    server.bills = False
    store = Store(tmp_path)
    with pytest.raises(Failed, match="how many tokens it bills"):
        engine_of(server, prices=Prices(1, 1), store=store).generate(ASKS[:1], Decoding())
    free = engine_of(server, store=store)
    assert free.generate(ASKS[:1], Decoding()) == [["you said number 0 0"]]
    assert len(server.seen) == 1
    assert (free.paid.money, free.paid.tokens) == (0, 0)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_is_spent_than_allowed(server: Server, tmp_path: Path, concurrency: int) -> None:
    prices, decoding = Prices(1, 1e6), Decoding(max_new_tokens=19)  # an answer is 19 or 20 characters: it costs what it may
    server.delay = 0.02

    def spend(allowed: float) -> Purse:
        purse = Purse(allowed)
        engine = engine_of(server, prices=prices, purse=purse, store=Store(tmp_path), concurrency=concurrency)
        with pytest.raises(Failed, match=f"limit: money is {allowed:g}: .* is spent") as failed:
            engine.generate(ASKS[:9], decoding)
        assert "raise `limit: money`" in failed.value.hint
        assert purse.money <= allowed
        return purse

    assert spend(100).money == pytest.approx(95, abs=0.1)
    assert len(server.seen) == 5
    # what an earlier run paid counts too: the same limit buys nothing more
    assert spend(100).money == pytest.approx(95, abs=0.1)
    assert len(server.seen) == 5
    assert spend(140).money == pytest.approx(133, abs=0.1)
    assert len(server.seen) == 7


def test_requests_under_way_together_wait_for_one_anothers_money(server: Server) -> None:
    purse = Purse(100)  # an answer may cost 60 by its length, and costs 19 or 20
    engine = engine_of(server, prices=Prices(1, 1e6), purse=purse, concurrency=4)
    assert len(engine.generate(ASKS[:3], Decoding(max_new_tokens=60))) == 3
    assert purse.money == pytest.approx(57, abs=0.1)


def test_a_try_that_may_have_been_billed_counts_against_the_limit(server: Server) -> None:
    server.always = Fault(body="{")
    with pytest.raises(Failed, match=r"25.00 is spent, 25.00 of it for tries that may have been billed"):
        engine_of(server, prices=Prices(0, 1e6), purse=Purse(40)).generate(ASKS[:1], Decoding(max_new_tokens=25))
    assert len(server.seen) == 1


# ---- the key ----


SENT_BACK = [
    Fault(401, f'{{"error": "wrong key {KEY}"}}'),
    Fault(400, f"you are {KEY}"),
    Fault(500, f"Bearer {KEY} crashed"),
    Fault(429, KEY),
    Fault(body=f"{KEY}", kind=KEY),
    Fault(body=f'{{"choices": [], "key": "{KEY}"}}'),
    Fault(body=f'{{"choices": [{{"message": {{"content": "your key is {KEY}"}}}}]}}'),
]


@pytest.mark.parametrize("fault", SENT_BACK)
def test_the_key_reaches_no_error_and_no_file(
    server: Server, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import traceback

    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level("DEBUG")
    server.always = fault
    with pytest.raises(TuneladderError) as raised:
        engine_of(server, key_env="MY_KEY", store=Store(tmp_path)).generate(ASKS[:1], Decoding())
    assert server.seen[0][2] == f"Bearer {KEY}"
    assert KEY not in "".join(traceback.format_exception(raised.value))
    # a library's debug log shows the headers that come in, whatever they hold
    assert not [each for each in caplog.records if not each.name.startswith("httpcore") and KEY in each.getMessage()]
    server.always = None
    engine_of(server, key_env="MY_KEY", store=Store(tmp_path)).generate(ASKS[:2], Decoding())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]


def test_an_error_shows_nothing_that_a_terminal_obeys(server: Server) -> None:
    server.always = Fault(400, "\x1b[2J" + "long " * 500)
    with pytest.raises(BadInput) as refused:
        engine_of(server).generate(ASKS[:1], Decoding())
    assert "\x1b" not in refused.value.message
    assert len(refused.value.message) < 400


def test_a_key_that_is_not_set_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    server.always = Fault(401)
    with pytest.raises(BadInput, match=r"\$MY_KEY, which is not set"):
        engine_of(server, key_env="MY_KEY").generate(ASKS[:1], Decoding())


def test_an_endpoint_is_asked_for_the_schema(server: Server) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
    engine_of(server).generate(ASKS[:1], Decoding(schema=json.dumps(schema)))
    engine_of(server).generate(ASKS[:1], Decoding(schema=json.dumps({**schema, "required": []})))
    shapes = [body["response_format"] for _, body, _ in server.seen]
    assert shapes[0] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    assert shapes[1]["json_schema"]["strict"] is False
