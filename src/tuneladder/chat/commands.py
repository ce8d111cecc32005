"""What may be asked of a talk besides questions: lines that begin with a slash."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuneladder.chat.picture import odds_lines, piece_lines, visible
from tuneladder.chat.settings import SETTINGS, changed, shown
from tuneladder.chat.talk import ARROW, Talk
from tuneladder.errors import BadInput, Refused, unknown

DOES = {name: setting.does for name, setting in SETTINGS.items()} | {"history": "whether what was said before is read"}
_NAMED = re.compile(r"(\w*)\s*=?\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """The terminal that is written for: its columns, and whether it has blocks to draw bars with."""

    width: int = 80
    blocks: bool = True


@dataclass(frozen=True)
class Told:
    """What a command says. `data` is the same for a program; without it the lines are talk."""

    lines: tuple[str, ...]
    data: Mapping[str, Any] | None = None


def tell(talk: Talk, line: str, page: Page) -> Told | None:
    """Do what a line with a slash says; None leaves the talk. Raises BadInput for what cannot be done, and changes nothing then."""
    name, _, rest = line[1:].partition(" ")
    if name not in COMMANDS:
        raise unknown(
            "command", f"/{name}", [f"/{own}" for own in COMMANDS], "/help says what there is; // begins a question with /"
        )
    return COMMANDS[name].run(talk, rest.strip(), page)


def _help(talk: Talk, rest: str, page: Page) -> Told:
    rows = [(f"/{name} {command.takes}".rstrip(), command.does) for name, command in COMMANDS.items()]
    wide = max(len(left) for left, _ in rows)
    return _data((f"{left:<{wide}}  {right}" for left, right in rows), {"commands": dict(rows)})


def _set(talk: Talk, rest: str, page: Page) -> Told:
    _writes(talk, "set")
    name, value = _NAMED.match(rest).groups()  # type: ignore[union-attr]
    if name and name not in DOES:
        raise unknown("setting", name, DOES)
    if value and name == "history":
        if value not in ("on", "off"):
            raise BadInput(f"history is '{value}'", "on: a question is asked after all that was said; off: alone")
        talk.history = value == "on"
    elif value:
        decoding = changed(talk.prompt.decoding, name, value, own=talk.own.decoding)
        talk.prompt = replace(talk.prompt, decoding=decoding)
    decoding = talk.prompt.decoding
    values = {own: shown(decoding, own) for own in SETTINGS} | {"history": "on" if talk.history else "off"}
    lines = [f"{own:<15} {values[own]:<10} {DOES[own]}" for own in ([name] if name else DOES)]
    drawn = name in ("top_k", "top_p", "seed") if name else bool(decoding.top_k or decoding.top_p < 1)
    if drawn and decoding.temperature == 0:
        lines.append("at temperature 0 the likeliest is taken: top_k, top_p and seed change nothing")
    if value:
        return Told(tuple(lines))
    settings = {own: getattr(decoding, own) for own in SETTINGS}
    return Told(tuple(lines), {"settings": settings | {"history": talk.history}})


def _tokens(talk: Talk, rest: str, page: Page) -> Told:
    if not rest and not talk.turns:
        raise BadInput("nothing was said yet", "/tokens TEXT")
    text = rest or talk.turns[-1].text
    pieces = talk.tokens_of(text)
    lines = [*piece_lines(pieces, width=page.width), f"{len(pieces)} tokens, {len(text)} characters; · is a blank"]
    return _data(lines, {"tokens": [{"id": piece.id, "text": piece.text} for piece in pieces]})


def _next(talk: Talk, rest: str, page: Page) -> Told:
    question, _, begun = (part.strip() for part in rest.partition(ARROW))
    found = talk.odds(question, begun)
    decoding = talk.prompt.decoding
    names = ("temperature", "top_k", "top_p", "repetition")
    after = ", ".join(f"{name} {shown(decoding, name)}" for name in names)
    asked = question or talk.turns[-2].text
    lines = [
        f"what answers: {_line(asked)}",
        *([f"after: {_line(begun)}"] if begun else []),
        f"drawn with {after}",
        *odds_lines(found, width=page.width, blocks=page.blocks),
    ]
    odds = [{"id": own.piece.id, "text": own.piece.text, "before": own.before, "after": own.after} for own in found]
    return _data(lines, {"asked": asked, "begun": begun, "next": odds})


def _prompt(talk: Talk, rest: str, page: Page) -> Told:
    text = talk.glass("its prompt").rendered(talk.asked(rest) if rest else talk.again())
    return _data([text], {"prompt": text})


def _shots(talk: Talk, rest: str, page: Page) -> Told:
    _writes(talk, "shots")
    verb, _, said = rest.partition(" ")
    if verb == "add":
        question, arrow, answer = (part.strip() for part in said.partition(ARROW))
        if not (question and arrow and answer):
            raise BadInput(f"'{said}' is no question and answer", f"/shots add QUESTION {ARROW} ANSWER")
        talk.show(question, answer)
        return Told((f"{len(talk.shots())} shown",))
    if verb == "drop":
        if not said.strip().isdecimal():
            raise BadInput(f"'{said}' is no shot's number", "/shots lists them; /shots drop 1")
        gone = talk.hide(int(said))
        return Told((f"no longer shown: {_line(gone.turns[-1].text)}; {len(talk.shots())} shown",))
    if verb:
        raise unknown("thing to do with shots", verb, ("add", "drop"), f"/shots, /shots add QUESTION {ARROW} ANSWER, /shots drop N")
    pairs = [(shot.turns[-1].text, shot.references[0]) for shot in talk.shots()]
    lines = [f"{number}  {_line(asked)} {ARROW} {_line(said)}" for number, (asked, said) in enumerate(pairs, 1)]
    none = "no examples are shown"
    if (own := talk.prompt.shots) and own.choose == "nearest":
        none = f"each question is shown the {own.count} of {len(own.pool)} most like it; /shots add shows yours in their place"
    return _data(lines or [none], {"shots": [{"question": asked, "answer": said} for asked, said in pairs]})


def _system(talk: Talk, rest: str, page: Page) -> Told:
    _writes(talk, "system")
    if rest:
        system = {"-": "", "default": talk.own.system}.get(rest, rest)
        talk.prompt = replace(talk.prompt, system=system)
        return Told((f"system: {_line(system)}" if system else "no system prompt",))
    lines = [f"system: {talk.prompt.system}" if talk.prompt.system else "no system prompt"]
    if talk.prompt.instruction:
        lines.append(f"the variant's own instruction: {talk.prompt.instruction}")
    return _data(lines, {"system": talk.prompt.system, "instruction": talk.prompt.instruction})


def _reset(talk: Talk, rest: str, page: Page) -> Told:
    talk.reset()
    return Told(("what was said is forgotten; system, shots and settings stay",))


def _save(talk: Talk, rest: str, page: Page) -> Told:
    if not rest:
        raise BadInput("no file is named", "/save talk.jsonl")
    file = Path(rest).expanduser()
    count = talk.save(file)
    return Told((f"{count} turns added to {file}; a recipe of kind chat reads it as data",))


def _quit(talk: Talk, rest: str, page: Page) -> None:
    return None


@dataclass(frozen=True)
class Command:
    run: Callable[[Talk, str, Page], Told | None]
    takes: str
    does: str


COMMANDS: Mapping[str, Command] = {
    "help": Command(_help, "", "what there is"),
    "set": Command(_set, "[NAME VALUE]", "how text is written; VALUE may be default"),
    "system": Command(_system, "[TEXT]", "the system prompt; - takes it away"),
    "shots": Command(_shots, f"[add Q {ARROW} A | drop N]", "the examples that the prompt shows"),
    "tokens": Command(_tokens, "[TEXT]", "a text, or the last turn, in pieces with ids"),
    "next": Command(_next, f"[Q] [{ARROW} A]", "what may come next, in an answer that begins A"),
    "prompt": Command(_prompt, "[Q]", "what the model reads for a question"),
    "reset": Command(_reset, "", "forget what was said"),
    "save": Command(_save, "FILE", "add the talk to a .jsonl, data for a recipe"),
    "quit": Command(_quit, "", "leave, as Ctrl-D does"),
}


def _writes(talk: Talk, command: str) -> None:
    if talk.gives != "text":
        raise Refused(
            f"/{command} changes how text is written, and {talk.variant.base.name} answers with {talk.gives} here",
            "type a text to see them",
        )


def _line(text: str) -> str:
    """A text in a line, not too long."""
    text = visible(text).replace("·", " ")
    return text if len(text) <= 60 else f"{text[:59]}…"


def _data(lines: Iterable[str], data: Mapping[str, Any]) -> Told:
    return Told(tuple(lines), data)
