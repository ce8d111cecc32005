"""A remote model's answer as it arrives, from a small server of our own on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tuneladder.errors import BadInput, Failed
from tuneladder.model.purse import Prices, Purse
from tuneladder.model.remote import RemoteEngine
from tuneladder.types import Decoding, Turn

ASK = (Turn("system", "Be kind."), Turn("user", "Hi"))


class Server:
    """Streams `lines`, each after `data: `; answers with `status` instead where that is no 200, and refuses to be told what is in
    `refused`, with what it says of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.status = 200
        self.refused: dict[str, str] = {}
        self.seen: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                said = next((said for name, said in outer.refused.items() if name in outer.seen[-1]), "")
                status = 400 if said else outer.status
                self.send_response(status)
                self.send_header("Content-Type", "text/event-stream" if status == 200 else "application/json")
                self.end_headers()
                self.wfile.write(said.encode())
                for line in outer.lines if status == 200 else ():
                    self.wfile.write(f"data: {line}\n\n".encode())

            def log_message(self, *words: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def chunk(text: str | None, ended: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": ended}
    return json.dumps({"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]})


def test_pieces_come_as_they_arrive_and_all_settings_go_out(server: Server) -> None:
    server.lines = [chunk("Good "), chunk(""), chunk("day é"), chunk(None, "stop"), "[DONE]"]
    decoding = Decoding(9, 0.5, 7, 0.8, 1.2, ("\n",), seed=3)
    assert list(RemoteEngine(server.url, "m").stream(ASK, decoding)) == ["Good ", "day é"]
    [body] = server.seen
    assert body.pop("messages") == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    sent = {"model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 0.8, "seed": 3, "stop": ["\n"], "stream": True}
    assert body == sent | {"top_k": 7, "repetition_penalty": 1.2}
    server.seen.clear()
    list(RemoteEngine(server.url, "m").stream(ASK, Decoding()))
    assert not {"top_k", "repetition_penalty", "stop"} & set(server.seen[0])


@pytest.mark.parametrize(
    "lines",
    [
        [chunk("Good ")],
        [chunk("Good "), "{broken"],
        [],
        [chunk("Good "), '{"choices": [{}]}'],
        ['{"choices": [{"delta": null}]}'],
        ["[7]"],
    ],
    ids=["cut", "malformed", "empty", "no delta", "an empty delta", "a list"],
)
def test_an_answer_that_breaks_off_is_a_failure(lines: list[str], server: Server) -> None:
    server.lines = lines
    with pytest.raises(Failed, match="broke off its answer"):
        list(RemoteEngine(server.url, "m").stream(ASK, Decoding()))


def test_a_refused_key_is_said_before_a_piece(server: Server) -> None:
    server.status = 401
    with pytest.raises(BadInput, match="refused the key"):
        next(iter(RemoteEngine(server.url, "m", key_env="MY_KEY").stream(ASK, Decoding())))


USAGE = json.dumps({"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": []})[:-1]
USAGE += ', "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}}'
WHOLE = [chunk("Good "), chunk("day"), chunk(None, "stop")]


def priced(server: Server, allowed: float = 0.0) -> tuple[RemoteEngine, Purse]:
    purse = Purse(allowed)
    return RemoteEngine(server.url, "m", prices=Prices(0, 1e6), purse=purse), purse


def test_what_an_answer_is_billed_is_counted_as_the_endpoint_says_at_its_end(server: Server) -> None:
    server.lines = [*WHOLE, USAGE, "[DONE]"]
    engine, purse = priced(server, 12)
    for money in (2, 4):  # asked again it is billed again
        assert list(engine.stream(ASK, Decoding(8))) == ["Good ", "day"]
        assert (purse.money, purse.tokens) == (money, 13 * money / 2) == (engine.paid.money, engine.paid.tokens)
    assert server.seen[0]["stream_options"] == {"include_usage": True}
    with pytest.raises(Failed, match=r"limit: money is 12: 4\.00 is spent"):
        list(engine.stream(ASK, Decoding(9)))
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    "lines",
    [[*WHOLE, "[DONE]"], [*WHOLE, '{"choices": [], "usage": {"prompt_tokens": "x"}}'], WHOLE[:2], [WHOLE[0], "{broken"]],
    ids=["not said", "said otherwise", "cut", "malformed"],
)
def test_an_answer_of_which_nobody_knows_what_it_is_billed_counts_as_the_most_it_may_cost(lines: list[str], server: Server) -> None:
    server.lines = lines
    engine, purse = priced(server, 12)
    with contextlib.suppress(Failed):
        list(engine.stream(ASK, Decoding(8)))
    assert purse.money == 0
    with pytest.raises(Failed, match=r"limit: money is 12: 8\.00 is spent, 8\.00 of it for tries that may have been billed"):
        list(engine.stream(ASK, Decoding(8)))
    assert len(server.seen) == 1


def test_an_answer_that_is_not_heard_to_its_end_may_be_billed_and_a_refusal_is_not(server: Server) -> None:
    server.lines = [*WHOLE, USAGE, "[DONE]"]
    engine, _ = priced(server, 12)
    server.status = 401
    with pytest.raises(BadInput):
        list(engine.stream(ASK, Decoding(8)))
    server.status = 200
    pieces = engine.stream(ASK, Decoding(8))
    assert next(pieces) == "Good "
    pieces.close()  # type: ignore[attr-defined]
    with pytest.raises(Failed, match=r"8\.00 of it for tries"):
        list(engine.stream(ASK, Decoding(8)))


def test_an_endpoint_is_asked_without_what_it_refuses(server: Server) -> None:
    server.lines = [*WHOLE, "[DONE]"]
    server.refused = {
        "max_tokens": "'max_tokens' is not supported: use 'max_completion_tokens'",
        "stream_options": "stream_options: extra inputs are not permitted",
    }
    engine, _ = priced(server)
    assert list(engine.stream(ASK, Decoding(8))) == ["Good ", "day"]
    assert [("max_completion_tokens" in body, "stream_options" in body) for body in server.seen] == [
        (False, True),
        (True, True),
        (True, False),
    ]
