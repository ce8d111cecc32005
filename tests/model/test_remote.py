"""The remote engine against a small OpenAI-compatible server of our own on 127.0.0.1."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tuneladder.errors import BadInput, Failed
from tuneladder.model.ask import CannotScore, ask
from tuneladder.model.remote import RemoteEngine
from tuneladder.types import Base, Decoding, Example, Prompt, Turn


class Server:
    """Repeats the last message; echoes log-probabilities of -1 a character where `ranks`; refuses with `status`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any], str]] = []
        self.ranks, self.choices, self.status = True, 0, 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append((self.path, body, self.headers["Authorization"]))
                status, reply = outer.reply(self.path, body)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.status != 200:
            return self.status, {"error": {"message": "refused"}}
        if path == "/v1/chat/completions":
            text = f"you said {body['messages'][-1]['content']}"
            count = self.choices or body["n"]
            choices = [
                {"index": n, "finish_reason": "stop", "message": {"role": "assistant", "content": f"{text} {body['seed'] + n}"}}
                for n in range(count)
            ]
            return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": choices}
        if not self.ranks:
            return 400, {"error": {"message": "echo is not supported"}}
        text = body["prompt"]
        chances = {"tokens": list(text), "token_logprobs": [None, *[-1.0] * (len(text) - 1)], "text_offset": list(range(len(text)))}
        choice = {"index": 0, "finish_reason": "length", "text": text, "logprobs": {**chances, "top_logprobs": None}}
        return 200, {"id": "1", "object": "text_completion", "created": 0, "model": body["model"], "choices": [choice]}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


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
    server.status = status
    with pytest.raises(BadInput, match=sentence):
        RemoteEngine(server.url, "m", key_env="MY_KEY").generate(ASKS[:1], Decoding())


def test_a_wrong_key_is_no_reason_to_write_instead_of_ranking(server: Server) -> None:
    server.status = 401
    with pytest.raises(BadInput, match="refused the key"):
        RemoteEngine(server.url, "m").score(ASKS[:1], [["a"]])


def test_an_endpoint_that_is_not_there_fails(server: Server) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(Failed, match="did not answer"):
        RemoteEngine(server.url, "m").generate(ASKS[:1], Decoding())
