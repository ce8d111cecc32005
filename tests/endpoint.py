"""A small OpenAI-compatible server on 127.0.0.1 that can be told to misbehave."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What is sent instead of an answer. `sent` of a `body` announced in full are sent, then the connection is cut; with `drip`
    they go one by one, so many seconds apart. `after` seconds pass before anything is sent; status 0 is a connection closed without
    a word."""

    status: int = 200
    body: str = '{"error": {"message": "a fault"}}'
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None
    drip: float = 0.0
    after: float = 0.0


class Server:
    """Repeats the last message; echoes log-probabilities of -1 a character where `ranks`. The next requests meet with `faults`, all
    others with `always`. It bills a token a character where `bills`, and answers after `delay` seconds."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any], str]] = []
        self.times: list[float] = []
        self.ranks, self.bills, self.choices, self.delay = True, True, 0, 0.0
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.most, self._under_way = 0, 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.seen.append((self.path, body, self.headers["Authorization"]))
                    outer.times.append(time.monotonic())
                    outer._under_way += 1
                    outer.most = max(outer.most, outer._under_way)
                    fault = outer.faults.pop(0) if outer.faults else outer.always
                try:
                    time.sleep(outer.delay)
                    with contextlib.suppress(ConnectionError):
                        self.send(fault or outer.answer(self.path, body))
                finally:
                    with outer._lock:
                        outer._under_way -= 1

            def send(self, fault: Fault) -> None:
                time.sleep(fault.after)
                self.close_connection = True
                if not fault.status:
                    return
                data = fault.body.encode()
                self.send_response(fault.status)
                self.send_header("Content-Type", fault.kind)
                self.send_header("Content-Length", str(len(data)))
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                data = data[: fault.sent]
                for piece in (data[at : at + 1] for at in range(len(data))) if fault.drip else [data]:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(fault.drip)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, path: str, body: dict[str, Any]) -> Fault:
        """The right answer, as it is sent."""
        if path == "/v1/chat/completions":
            return Fault(body=json.dumps(self.written(body)))
        if not self.ranks:
            return Fault(400, '{"error": {"message": "echo is not supported"}}')
        return Fault(body=json.dumps(self.ranked(body)))

    def written(self, body: dict[str, Any]) -> dict[str, Any]:
        said = [f"you said {body['messages'][-1]['content']} {body['seed'] + n}" for n in range(self.choices or body["n"])]
        choices = [
            {"index": n, "finish_reason": "stop", "message": {"role": "assistant", "content": text}} for n, text in enumerate(said)
        ]
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": choices}
        read = sum(len(turn["content"]) for turn in body["messages"])
        return {**reply, **self.usage(read, sum(map(len, said)))}

    def ranked(self, body: dict[str, Any]) -> dict[str, Any]:
        text = body["prompt"]
        chances = {"tokens": list(text), "token_logprobs": [None, *[-1.0] * (len(text) - 1)], "text_offset": list(range(len(text)))}
        choice = {"index": 0, "finish_reason": "length", "text": text, "logprobs": {**chances, "top_logprobs": None}}
        reply = {"id": "1", "object": "text_completion", "created": 0, "model": body["model"], "choices": [choice]}
        return {**reply, **self.usage(len(text), 0)}

    def usage(self, read: int, written: int) -> dict[str, Any]:
        return {"usage": {"prompt_tokens": read, "completion_tokens": written}} if self.bills else {}

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    made = Server()
    try:
        yield made
    finally:
        made.close()
