"""The talk itself: lines in, answers out. At a terminal with an editor of lines and Ctrl-C; else line by line, for scripts."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from tuneladder.chat.commands import COMMANDS, Page, tell
from tuneladder.chat.picture import label_lines
from tuneladder.chat.settings import SETTINGS
from tuneladder.chat.talk import ARROW, Talk
from tuneladder.errors import BadInput, TuneladderError

PROMPT = "> "
# What would move the cursor or worse, were it written to a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def hold(talk: Talk, *, aside: Console, refuse: Callable[[TuneladderError], None], as_json: bool = False) -> int:
    """Answer line after line until there are none. Answers go to stdout, all else `aside`; `refuse` shows an error, after which the
    talk goes on as it was. Returns 0, or without a terminal the exit code of the last line that was refused."""
    if sys.stdin is None:
        raise BadInput("there is nothing to read: standard input is closed", "type, or pipe lines in")
    typed = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper) and not typed:
        sys.stdin.reconfigure(errors="replace")
    talk.tell = lambda said: _say(aside, f"note: {_CONTROL.sub('', said)}")
    if typed:
        _say(aside, _greeting(talk))
    if (votes := talk.prompt.vote) > 1:
        talk.tell(f"measured by the vote of {votes} answers; here it gives the first of them, and no votes are taken")
    code = 0
    for line in _typed(aside) if typed else (line.rstrip("\r\n") for line in sys.stdin):
        if not line.strip():
            if not typed:
                _print_nothing(as_json)
            continue
        try:
            if not _one(talk, line.strip(), aside, as_json, typed):
                break
        except KeyboardInterrupt:
            if not typed:
                raise
            _say(aside, "\nstopped")
        except TuneladderError as error:
            refuse(error)
            code = 0 if typed else error.exit_code
            if as_json:
                _print_json({"input": line, "error": error.message, "hint": error.hint})
            elif not typed:
                _print_nothing(as_json)
    return code


def _greeting(talk: Talk) -> str:
    base = talk.variant.base
    kind = "elsewhere" if base.source == "url" else f"{base.family}, context {base.context:,}"
    steps = f" with {', '.join(talk.variant.steps)}" if talk.variant.steps else ""
    gives = {
        "text": "" if talk.history else "; each question is asked alone, as its rows were (/set history on)",
        "labels": f"; it answers with one of {len(talk.labels)} labels",
        "sets": f"; it answers with none, one or several of {len(talk.labels)} labels",
        "tags": "; it tags words",
        "rewards": f"; it rewards answers: QUESTION {ARROW} ANSWER, or several with {ARROW} between them",
    }[talk.gives]
    ranks = "; measured by ranking labels, it writes its answers here" if talk.variant.prompt.ask == "score" else ""
    return (
        f"{base.name}{steps} ({kind}){gives}{ranks if talk.gives == 'text' else ''}\n/help says what else there is; Ctrl-D leaves"
    )


def _one(talk: Talk, line: str, aside: Console, as_json: bool, typed: bool) -> bool:
    """One line: a command or a question. False leaves."""
    if line.startswith("/") and not line.startswith("//"):
        page = _page(aside)
        told = tell(talk, line, page)
        if told is None:
            return False
        if as_json and told.data is not None:
            _print_json({"command": line, **told.data})
        else:
            for said in told.lines:
                print(said) if told.data is not None else _say(aside, said)
        return True
    text = line[1:] if line.startswith("//") else line
    ways = {"text": _write, "labels": _judge, "sets": _sort, "tags": _tag, "rewards": _reward}
    ways[talk.gives](talk, text, aside, as_json, typed)
    sys.stdout.flush()
    return True


def _write(talk: Talk, text: str, aside: Console, as_json: bool, typed: bool) -> None:
    shown = not as_json
    said, begun = "", time.monotonic()
    stopped = False
    pieces = talk.answer(text)
    try:
        for piece in pieces:
            said += piece
            if shown:
                sys.stdout.write(_CONTROL.sub("", piece) if sys.stdout.isatty() else piece)
                sys.stdout.flush()
    except KeyboardInterrupt:
        if not typed:
            raise
        stopped = True
    finally:
        pieces.close()  # type: ignore[attr-defined]
    seconds = time.monotonic() - begun
    if as_json:
        found = {"input": text, "answer": said, "stopped": talk.stopped, "tokens": talk.tokens, "seconds": round(seconds, 3)}
        _print_json(found if talk.reason is None else found | {"reason": talk.reason})
    elif not said.endswith("\n") or not typed:
        print()
    for note in () if as_json else _ended(talk, said, seconds, stopped, typed):
        _say(aside, note)


def _ended(talk: Talk, said: str, seconds: float, stopped: bool, typed: bool) -> Iterator[str]:
    if stopped:
        yield "stopped; what was said stays in the talk" if said else "stopped before a word was said; the question is not kept"
    elif not said:
        yield "the answer is empty, and the question is not kept"
    elif talk.stopped == "length":
        most = talk.prompt.decoding.max_new_tokens
        if talk.tokens == most:
            yield f"cut off at max_new_tokens: /set max_new_tokens {2 * most} lets it go on longer"
        else:
            yield f"cut off where the context of {talk.variant.base.context} tokens is full: /reset makes room"
    if typed and talk.tokens and seconds > 0:
        yield f"{talk.tokens} tokens, {seconds:.1f} s, {talk.tokens / seconds:.0f} a second"


def _judge(talk: Talk, text: str, aside: Console, as_json: bool, typed: bool) -> None:
    found = talk.judge(text)
    if as_json:
        _print_json({"input": text, "answer": found[0][0], "probabilities": dict(found)})
        return
    page = _page(aside)
    for line in label_lines(found, width=page.width, blocks=page.blocks) if typed else [found[0][0]]:
        print(line)


def _reward(talk: Talk, text: str, aside: Console, as_json: bool, typed: bool) -> None:
    found = talk.reward(text)
    if as_json:
        keys = ("answer", "reward", "probability")
        _print_json({"input": text, "rewards": [dict(zip(keys, own, strict=True)) for own in found]})
    elif typed:
        for answer, reward, share in found:
            print(f"{reward:8.3f}  {'' if share is None else f'{share:.1%}':>6}  {_CONTROL.sub('', answer)}")
    else:
        print(" ".join(f"{reward:.6g}" for _, reward, _ in found))


def _sort(talk: Talk, text: str, aside: Console, as_json: bool, typed: bool) -> None:
    said, found = talk.sort(text)
    if as_json:
        _print_json({"input": text, "answer": said, "labels": found})
    else:
        print(said)


def _tag(talk: Talk, text: str, aside: Console, as_json: bool, typed: bool) -> None:
    found = talk.tag(text)
    if as_json:
        _print_json({"input": text, "answer": " ".join(tag for _, tag in found), "words": [word for word, _ in found]})
    elif typed:
        wide = max(len(word) for word, _ in found)
        for word, tag in found:
            print(f"{word:<{wide}}  {tag}")
    else:
        print(" ".join(tag for _, tag in found))


def _typed(aside: Console) -> Iterator[str]:
    """Lines from a person. A line that ends in a backslash goes on in the next; Ctrl-C leaves a line, Ctrl-D the talk."""
    _complete()
    lines: list[str] = []
    while True:
        try:
            line = _input(". " if lines else PROMPT)
        except EOFError:
            aside.print()
            return
        except KeyboardInterrupt:
            lines.clear()
            _say(aside, "\n/quit or Ctrl-D leaves")
            continue
        lines.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield "\n".join(lines)
            lines.clear()


def _input(prompt: str) -> str:
    """A line, with an editor where both ends are a terminal; where answers go to a file, the prompt does not."""
    if sys.stdout.isatty():
        return input(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return input()


def _complete() -> None:
    """Arrows bring earlier lines back, and Tab completes commands and settings, where the system has an editor for lines."""
    with contextlib.suppress(ImportError):
        import readline

        def complete(text: str, state: int) -> str | None:
            known = [f"/{name} " for name in COMMANDS] if text.startswith("/") else [f"{name} " for name in SETTINGS]
            return [*(name for name in known if name.startswith(text)), None][state] if text else None

        readline.set_completer_delims(" \t\n")
        readline.set_completer(complete)
        readline.parse_and_bind("tab: complete")


def _say(aside: Console, said: str) -> None:
    aside.print(said, markup=False, style="dim", soft_wrap=True)


def _page(aside: Console) -> Page:
    out = Console()
    return Page((out if out.is_terminal else aside).width, (sys.stdout.encoding or "").lower().startswith("utf"))


def _print_nothing(as_json: bool) -> None:
    """The answer to a script's line that has none: the next one would else be read as its."""
    if as_json:
        _print_json({"input": "", "answer": "", "stopped": "", "tokens": 0, "seconds": 0.0})
    else:
        print(flush=True)


def _print_json(found: dict[str, Any]) -> None:
    print(json.dumps(found, ensure_ascii=False))
    sys.stdout.flush()
