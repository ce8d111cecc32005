"""A remote model's answer as it arrives, from a small server of our own on 127.0.0.1."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tuneladder.errors import BadInput, Failed
from tuneladder.model.remote import RemoteEngine
from tuneladder.types import Decoding, Turn

ASK = (Turn("system", "Be kind."), Turn("user", "Hi"))


class Server:
    """Streams `lines`, each after `data: `; answers with `status` instead where that is no 200."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.status = 200
        self.seen: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(outer.status)
                self.send_header("Content-Type", "text/event-stream" if outer.status == 200 else "application/json")
                self.end_headers()
                for line in outer.lines if outer.status == 200 else ():
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
