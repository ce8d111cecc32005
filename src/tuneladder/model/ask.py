"""Ask an engine about examples: render the prompt, call, read the answers, vote."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuneladder.errors import BadInput, Failed
from tuneladder.task.multi_label import read_labels
from tuneladder.task.tagging import OUTSIDE, words_of
from tuneladder.types import Answer, Engine, Example, Prompt, Turn, Turns


class CannotScore(Failed):
    """This engine gives no log-probabilities of texts that it did not write."""


def turns_of(prompt: Prompt, example: Example) -> Turns:
    """What is asked: the system's turn, the shots as an earlier conversation, and the example's own turns.

    The template, the example's own or else the prompt's, makes every user turn; the instruction stands first, with what the system
    says, so that it stays when a context too short leaves shots out. Raises BadInput for a template that fails.
    """
    template = example.template or prompt.template
    turns: list[Turn] = []
    for shot in prompt.shots.chosen if prompt.shots else ():
        # a shot is asked as the example is; one of another data set asks for something else, and keeps its own
        own = template if shot.set == example.set else shot.template or prompt.template
        turns += [*_filled(own, shot), Turn("assistant", shot.references[0])]
    turns += _filled(template, example)
    said = [prompt.system, prompt.instruction, *(turn.text for turn in example.turns if turn.role == "system")]
    system = "\n\n".join(text for text in said if text)
    return (*((Turn("system", system),) if system else ()), *turns)


def ask(engine: Engine, prompt: Prompt, examples: Sequence[Example], labels: Sequence[str] = ()) -> list[Answer]:
    """One answer per example, in order.

    The options of an example are its own or, where it has none, `labels`. A prompt that ranks them is asked by generating
    where the engine cannot score. An answer that names no option, or no number, has an empty text; `raw` keeps what was written.
    """
    options = [example.options or tuple(labels) for example in examples]
    asks = [turns_of(prompt, example) for example in examples]
    if prompt.ask == "score":
        if empty := next((example for example, own in zip(examples, options, strict=True) if not own), None):
            raise BadInput(f"example {empty.id} has no options to rank", "give the task labels, or `ask: generate`")
        try:
            return _ranked(engine, prompt, examples, asks, options)
        except CannotScore:
            prompt = replace(prompt, parse="label")
    decoding = replace(prompt.decoding, samples=prompt.vote) if prompt.vote > 1 else prompt.decoding
    written = engine.generate(asks, decoding)
    sizes = [len(words_of(example.turns[-1].text)) if prompt.parse == "tags" else 0 for example in examples]
    return [_voted(texts, own, prompt, words) for texts, own, words in zip(written, options, sizes, strict=True)]


def parse(text: str, rule: str, options: Sequence[str] = (), *, words: int = 0) -> str:
    """The answer in a text, "" where there is none.

    text: all of it. number: the last number. label: the option that it is, or else the option named first, as whole words
    and in any case; of two that begin at one place the longer. labels: a set of the options, perhaps the empty one, as
    task/multi_label.py writes it. tags: exactly `words` of the options, in any case, with blanks
    between; what is none of them, or was not written, is outside.
    """
    text = text.strip()
    if rule == "tags":
        known = {option.casefold(): option for option in options} | {option: option for option in options}
        said = [known.get(part) or known.get(part.strip(_MARKS).casefold(), OUTSIDE) for part in text.split()[:words]]
        return " ".join(said + [OUTSIDE] * (words - len(said)))
    if rule == "labels":
        return read_labels(text, options)
    if rule == "text":
        return text
    if rule == "number":
        found = _NUMBER.findall(text)
        return str(found[-1]).replace(",", "") if found else ""
    folded = text.casefold()
    for option in options:
        if folded == option.casefold():
            return option
    places = [
        (match.start(), -len(option), option)
        for option in options
        if (match := re.search(rf"(?<!\w){re.escape(option.casefold().strip())}(?!\w)", folded))
    ]
    return min(places)[2] if places else ""


_MARKS = ",.;:'\"`()[]{}"  # that a list is written with
_NUMBER = re.compile(r"-?\d[\d,]*\.?\d+|-?\d+")


def _ranked(
    engine: Engine, prompt: Prompt, examples: Sequence[Example], asks: Sequence[Turns], options: Sequence[tuple[str, ...]]
) -> list[Answer]:
    scores = engine.score(asks, options)
    if prompt.calibrate:
        # arXiv:2102.09690: divide by what the model says of an empty input.
        blank = [(turns_of(prompt, _emptied(example)), own) for example, own in zip(examples, options, strict=True)]
        different = list(dict.fromkeys(blank))
        bias = dict(zip(different, engine.score([turns for turns, _ in different], [own for _, own in different]), strict=True))
        scores = [[a - b for a, b in zip(row, bias[key], strict=True)] for row, key in zip(scores, blank, strict=True)]
    answers = []
    for row, own in zip(scores, options, strict=True):
        best = max(range(len(own)), key=row.__getitem__)
        confidence = 1 / sum(math.exp(score - row[best]) for score in row)
        answers.append(Answer(own[best], confidence, own[best]))
    return answers


def _voted(texts: Sequence[str], options: Sequence[str], prompt: Prompt, words: int) -> Answer:
    """The answer that most samples gave, the earliest of equals; samples without an answer do not vote."""
    read = [parse(text, prompt.parse, options, words=words) for text in texts]
    votes = Counter(answer for answer in read if answer)
    winner = votes.most_common(1)[0][0] if votes else ""
    confidence = votes[winner] / len(texts) if prompt.vote > 1 else None
    return Answer(winner, confidence, texts[read.index(winner)])


def _emptied(example: Example) -> Example:
    """The example with nothing in its last user turn."""
    last = max((number for number, turn in enumerate(example.turns) if turn.role == "user"), default=None)
    return replace(example, turns=tuple(Turn("user", "") if n == last else turn for n, turn in enumerate(example.turns)))


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(
        template
    )


def _filled(template: str, example: Example) -> list[Turn]:
    """The example's turns but the system's, each user turn made by the template."""
    turns = [turn for turn in example.turns if turn.role != "system"]
    return [Turn("user", _fill(template, turn.text)) if turn.role == "user" else turn for turn in turns]


def _fill(template: str, text: str) -> str:
    if template == "{{ input }}":
        return text
    try:
        return _compiled(template).render(input=text)
    except TemplateError as error:
        raise BadInput(f"the prompt's template fails: {error}", "a template may use {{ input }} and Jinja's own words") from error
