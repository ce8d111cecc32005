"""Ask an engine about examples: render the prompt, call, read the answers, vote."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuneladder.errors import BadInput, CannotScore, Failed
from tuneladder.model.batching import regroup
from tuneladder.model.likeness import Pick, choosing
from tuneladder.task.formats import variables
from tuneladder.task.multi_label import read_labels
from tuneladder.task.numerals import as_number
from tuneladder.task.record import read_record
from tuneladder.task.scripts import whole
from tuneladder.task.tagging import OUTSIDE, words_of
from tuneladder.types import Answer, Decoding, Engine, Example, Prompt, Sizer, Turn, Turns, Why


def turns_of(prompt: Prompt, example: Example, *, shots: Sequence[Example] | None = None, reason: str | None = None) -> Turns:
    """What is asked: the system's turn, the shots as an earlier conversation, and the example's own turns.

    The template, the example's own or else the prompt's, makes every user turn, with the example's own options after it where an
    answer is to be written or thought about and the template does not show them; the instruction stands first, with what the system
    says, so that it stays when a context too short leaves shots out. `shots` are what `choosing` gave the example, if it was asked.
    A prompt that thinks asks for the reasoning first and, given the `reason`, for the answer: each shot then is asked alike, and
    one whose own reason is not known is shown with its answer alone. Raises BadInput for a template that fails.
    """
    if shots is None:
        with choosing(prompt.shots) as pick:
            (shots,) = pick([example])
    template = example.template or prompt.template
    reasons = prompt.shots.reasons if prompt.shots and prompt.shots.reasons else [None] * len(shots)
    turns: list[Turn] = []
    for shot, own_reason in zip(shots, reasons, strict=True):
        # a shot is asked as the example is; one of another data set asks for something else, and keeps its own
        own = template if shot.set == example.set else shot.template or prompt.template
        asked, said = _filled(prompt, own, shot), shot.references[0]
        if prompt.think and reason is None:
            if not own_reason:  # it shows how to answer, not how to reason
                continue
            asked, said = _thinking(prompt, asked, None), own_reason
        elif prompt.think:
            asked = _thinking(prompt, asked, own_reason or "")
        turns += [*asked, Turn("assistant", said)]
    own_turns = _filled(prompt, template, example)
    turns += _thinking(prompt, own_turns, reason) if prompt.think else own_turns
    schema = schema_of(prompt, example)
    shape = f"JSON schema: {schema}" if schema else ""
    said_first = [prompt.system, prompt.instruction, shape, *(turn.text for turn in example.turns if turn.role == "system")]
    system = "\n\n".join(text for text in said_first if text)
    return (*((Turn("system", system),) if system else ()), *turns)


def schema_of(prompt: Prompt, example: Example) -> str:
    """What an answer to the example is held to: of several data sets each has a schema of its own."""
    return str(example.meta.get("schema", prompt.schema))


def turns_of_all(prompt: Prompt, examples: Sequence[Example], labels: Sequence[str] = ()) -> list[Turns]:
    """As `turns_of`, for many at once: what chooses their shots is opened once. `labels` are shown where `ask` shows them."""
    with choosing(prompt.shots) as pick:
        return _asks(prompt, examples, pick(examples), labels)


def ask(
    engine: Engine, prompt: Prompt, examples: Sequence[Example], labels: Sequence[str] = (), *, pick: Pick | None = None
) -> list[Answer]:
    """One answer per example, in order.

    The options of an example are its own or, where it has none, `labels`. A prompt that ranks them is asked by generating
    where the engine cannot score. Where one of them is to be written or thought about they are shown, labels only if the prompt
    does not name them all. An answer that names no option, or no number, has an empty text; `raw` keeps what was written.
    `pick` is what `choosing` gave for the prompt's shots, where whoever asks more than once keeps it open. A prompt that thinks, or
    asks `why`, has the answers' reasons too.
    """
    if pick is None:
        with choosing(prompt.shots) as opened:
            return ask(engine, prompt, examples, labels, pick=opened)
    options = [example.options or tuple(labels) for example in examples]
    if prompt.ask == "score" and (empty := next((row for row, own in zip(examples, options, strict=True) if not own), None)):
        raise BadInput(f"example {empty.id} has no options to rank", "give the task labels, or `ask: generate`")
    shots = pick(examples)
    if prompt.think:
        return _thought(engine, prompt, examples, options, shots, labels)
    asks = _asks(prompt, examples, shots, labels)
    if prompt.ask == "score":
        blank: list[Turns] | None = None
        if prompt.calibrate:  # arXiv:2102.09690: divide by what the model says of an empty input
            blank = [turns_of(prompt, _emptied(example), shots=own) for example, own in zip(examples, shots, strict=True)]
        try:
            answers = _ranked(engine, asks, options, blank, prompt)
            return _explained(engine, prompt.why, asks, answers) if prompt.why else answers
        except CannotScore:
            prompt = replace(prompt, ask="generate", parse="label")
            asks = _asks(prompt, examples, shots, labels)  # options and labels are now to be shown
    answers = _written(engine, prompt, examples, asks, options)
    return _explained(engine, prompt.why, asks, answers) if prompt.why else answers


def parse(text: str, rule: str, options: Sequence[str] = (), *, words: int = 0, schema: str = "") -> str:
    """The answer in a text, "" where there is none.

    text: all of it. number: what it comes to, as task/numerals.py writes it. label: the option that it is, or else the option named
    first, as whole words and in any case; of two that begin at one place the longer. labels: a set of the options, perhaps the
    empty one, as task/multi_label.py writes it. tags: exactly `words` of the options, in any case, with blanks between; what is
    none of them, or was not written, is outside. json: the object, its fields as in `schema`, repaired once where it has to be
    (task/record.py).
    """
    text = text.strip()
    if rule == "tags":
        known = {option.casefold(): option for option in options} | {option: option for option in options}
        said = [known.get(part) or known.get(part.strip(_MARKS).casefold(), OUTSIDE) for part in text.split()[:words]]
        return " ".join(said + [OUTSIDE] * (words - len(said)))
    if rule == "labels":
        return read_labels(text, options)
    if rule == "json":
        return read_record(text, json.loads(schema))
    if rule == "text":
        return text
    if rule == "number":
        return as_number(text)
    folded = text.casefold()
    for option in options:
        if folded == option.casefold():
            return option
    places = [(match.start(), -len(option), option) for option in options if (match := _named(option, folded))]
    return min(places)[2] if places else ""


_SHOWN = "\n\nOne of these:{% for option in options %}\n- {{ option }}{% endfor %}"
_MARKS = ",.;:'\"`()[]{}"  # that a list is written with


def _asks(prompt: Prompt, examples: Sequence[Example], shots: Sequence[Sequence[Example]], labels: Sequence[str]) -> list[Turns]:
    """The turns of each example; its shots, whose answers are labels, do not list them once more."""
    return [turns_of(prompt, _told(prompt, example, labels), shots=own) for example, own in zip(examples, shots, strict=True)]


def _told(prompt: Prompt, example: Example, labels: Sequence[str]) -> Example:
    """The example with the labels as its options, where it has none, one is to be written or thought about, and not every one
    is named in what all rows are told."""
    chosen, ranked = prompt.ask == "score" or prompt.parse == "label", prompt.ask == "score" and not prompt.think
    if example.options or not chosen or ranked:
        return example
    said = "\n".join((prompt.system, prompt.instruction, example.template or prompt.template))
    return example if names_all(said, tuple(labels)) else replace(example, options=tuple(labels))


@lru_cache(maxsize=64)
def names_all(text: str, labels: tuple[str, ...]) -> bool:
    """Whether each of the labels stands in the text, as whole words and in any case."""
    folded = text.casefold()
    return all(_named(label, folded) for label in labels)


def _named(option: str, folded: str) -> re.Match[str] | None:
    return re.search(whole([option.casefold().strip()]), folded)


def _thought(
    engine: Engine,
    prompt: Prompt,
    examples: Sequence[Example],
    options: Sequence[tuple[str, ...]],
    shots: Sequence[Sequence[Example]],
    labels: Sequence[str],
) -> list[Answer]:
    """Zero-shot chain of thought (arXiv:2205.11916): the reasoning is written, `vote` times (arXiv:2203.11171), and the answer to
    each is then asked and read as the task's answers are. `raw` keeps the reasoning of the answer that is taken."""
    assert prompt.think
    rows = [
        (_told(prompt, example, labels), own_options, own)
        for example, own_options, own in zip(examples, options, shots, strict=True)
    ]
    # what would end an answer does not end the reasoning
    decoding = replace(prompt.decoding, max_new_tokens=prompt.think.tokens, samples=prompt.vote, stop=(), schema="")
    asks = [turns_of(prompt, example, shots=own) for example, _, own in rows]
    reasons = [(row, text.strip()) for row, texts in zip(rows, engine.generate(asks, decoding), strict=True) for text in texts]
    asks = [turns_of(prompt, example, shots=own, reason=text) for (example, _, own), text in reasons]
    own_options = [own for (_, own, _), _ in reasons]
    once = replace(prompt, vote=1, decoding=replace(prompt.decoding, samples=1))
    concluded: list[Answer] | None = None
    if prompt.ask == "score":
        try:
            concluded = _ranked(engine, asks, own_options, None, prompt)
        except CannotScore:
            once = replace(once, parse="label")
    if concluded is None:
        concluded = _written(engine, once, [example for (example, _, _), _ in reasons], asks, own_options)
    whole = [
        replace(answer, raw=f"{text}\n{prompt.think.conclusion} {answer.raw}".strip(), reason=text)
        for answer, (_, text) in zip(concluded, reasons, strict=True)
    ]
    groups = regroup(whole, [prompt.vote] * len(rows))
    return [_elected(own) if prompt.vote > 1 else own[0] for own in groups]


def rankable(scores: Sequence[float]) -> bool:
    """Whether log-probabilities say which option is the likeliest: all are numbers, and one is more than impossible."""
    return not any(map(math.isnan, scores)) and -math.inf < max(scores) < math.inf


def ranked_by(engine: Engine, asks: Sequence[Turns], options: Sequence[Sequence[str]]) -> list[list[float]]:
    """The log-probability of each option. Raises Failed where some can rank nothing: NaN is neither more nor less than any other,
    and the first option would be taken for the model's answer."""
    scores = engine.score(asks, options)
    if lost := sum(not rankable(row) for row in scores):
        raise Failed(
            f"the log-probabilities of {lost:,} of {len(scores):,} rows are no numbers that {engine.name} could rank options by",
            "a model trained to NaN, or one whose weights overflow in this precision: lower the learning rate, or ask another",
        )
    return scores


def _ranked(
    engine: Engine,
    asks: Sequence[Turns],
    options: Sequence[tuple[str, ...]],
    blank: Sequence[Turns] | None,
    prompt: Prompt,
) -> list[Answer]:
    """The likeliest option of each ask for its length; what is said of its `blank` is taken away, if that is given.

    Scores are divided by the options' lengths over the mean length of the ask's options, so that options of one length are ranked,
    and their probabilities summed to 1, as if nothing were divided; and by the prompt's `heat`. Raises CannotScore.
    """
    scores = ranked_by(engine, asks, options)
    if blank is not None:
        empty = list(zip(blank, options, strict=True))
        different = list(dict.fromkeys(empty))
        bias = dict(
            zip(different, ranked_by(engine, [turns for turns, _ in different], [own for _, own in different]), strict=True)
        )
        scores = [[a - b for a, b in zip(row, bias[key], strict=True)] for row, key in zip(scores, empty, strict=True)]
    if prompt.normalise != "none":
        sizes = _sizes(engine, asks, options, prompt.normalise)
        scores = [
            [score * sum(own) / len(own) / size for score, size in zip(row, own, strict=True)]
            for row, own in zip(scores, sizes, strict=True)
        ]
    answers = []
    for row, own in zip(scores, options, strict=True):
        best = max(range(len(own)), key=row.__getitem__)
        answers.append(Answer(own[best], shares_of(row, prompt)[best], own[best]))
    return answers


def shares_of(scores: Sequence[float], prompt: Prompt) -> list[float]:
    """The probabilities of options by what they are ranked by, divided by the prompt's `heat`."""
    most = max(scores)
    shares = [math.exp((score - most) / prompt.heat) for score in scores]
    whole = sum(shares)
    return [share / whole for share in shares]


def _sizes(engine: Engine, asks: Sequence[Turns], options: Sequence[tuple[str, ...]], by: str) -> list[list[int]]:
    """How long each option is, at least 1. By characters is lm-eval's acc_norm, by bytes its acc_bytes, by tokens GPT-3's way
    (arXiv:2005.14165, section 2.4)."""
    if by == "tokens":
        if not isinstance(engine, Sizer):
            raise BadInput(f"{engine.name} does not say how many tokens an option has", "normalise: characters, or bytes")
        sizes = engine.sizes(asks, options)
    else:
        sizes = [[len(option.encode() if by == "bytes" else option) for option in own] for own in options]
    return [[max(1, size) for size in own] for own in sizes]


def _written(
    engine: Engine, prompt: Prompt, examples: Sequence[Example], asks: Sequence[Turns], options: Sequence[tuple[str, ...]]
) -> list[Answer]:
    """What the engine writes to each ask, read by the prompt's rule, and voted on where it asks for votes."""
    decoding = replace(prompt.decoding, samples=prompt.vote) if prompt.vote > 1 else prompt.decoding
    sizes = [len(words_of(example.turns[-1].text)) if prompt.parse == "tags" else 0 for example in examples]
    found = []
    schemas = [schema_of(prompt, example) for example in examples]
    said = _said(engine, decoding, asks, schemas)
    for texts, own, words, schema in zip(said, options, sizes, schemas, strict=True):
        elected = _elected([Answer(parse(text, prompt.parse, own, words=words, schema=schema), None, text) for text in texts])
        several = tuple(texts) if len(texts) > 1 else ()
        found.append(elected if prompt.vote > 1 else replace(elected, confidence=None, samples=several))
    return found


def _said(engine: Engine, decoding: Decoding, asks: Sequence[Turns], schemas: Sequence[str]) -> list[list[str]]:
    """What the engine writes to each ask; where it is held to a schema, to that of its row, those of one asked together."""
    if not decoding.schema:
        return engine.generate(asks, decoding)
    found: list[list[str]] = [[]] * len(asks)
    for schema in dict.fromkeys(schemas):
        own = [at for at, each in enumerate(schemas) if each == schema]
        for at, texts in zip(own, engine.generate([asks[at] for at in own], replace(decoding, schema=schema)), strict=True):
            found[at] = texts
    return found


def _explained(engine: Engine, why: Why, asks: Sequence[Turns], answers: Sequence[Answer]) -> list[Answer]:
    """The answers, each with the reason that the engine gives for it; one that says nothing has none."""
    said = [at for at, answer in enumerate(answers) if answer.text]
    more = [(*asks[at], Turn("assistant", answers[at].text), Turn("user", why.question)) for at in said]
    reasons = dict(zip(said, engine.generate(more, Decoding(max_new_tokens=why.tokens)), strict=True))
    return [replace(answer, reason=reasons[at][0].strip() if at in reasons else "") for at, answer in enumerate(answers)]


def _elected(samples: Sequence[Answer]) -> Answer:
    """The answer that most samples gave, the earliest of equals, and its share of them all; samples without one do not vote."""
    votes = Counter(sample.text for sample in samples if sample.text)
    winner = votes.most_common(1)[0][0] if votes else ""
    first = next(sample for sample in samples if sample.text == winner)
    return Answer(winner, votes[winner] / len(samples), first.raw, reason=first.reason)


def _thinking(prompt: Prompt, turns: Sequence[Turn], reason: str | None) -> list[Turn]:
    """The turns with the last of the user's asking for reasoning or, with the `reason`, for what follows from it. All stands in
    one turn, so that a context too short never parts a question from its reasoning."""
    assert prompt.think
    last = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is None:
        return list(turns)
    asks = f"{turns[last].text}\n\n{prompt.think.invitation}"
    if reason is not None:
        reasoned = f"{asks}\n{reason}" if reason else turns[last].text
        asks = f"{reasoned}\n\n{prompt.think.conclusion}"
    return [Turn("user", asks) if number == last else turn for number, turn in enumerate(turns)]


def _emptied(example: Example) -> Example:
    """The example with nothing in its last user turn."""
    last = max((number for number, turn in enumerate(example.turns) if turn.role == "user"), default=None)
    return replace(example, turns=tuple(Turn("user", "") if n == last else turn for n, turn in enumerate(example.turns)))


@lru_cache(maxsize=64)
def _shows_options(template: str) -> bool:
    return "options" in variables(template)


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(
        template
    )


def _filled(prompt: Prompt, template: str, example: Example) -> list[Turn]:
    """The example's turns but the system's, each user turn made by the template."""
    if example.options and (prompt.ask == "generate" or prompt.think) and not _shows_options(template):
        template += _SHOWN
    turns = [turn for turn in example.turns if turn.role != "system"]
    return [Turn("user", _fill(template, turn.text, example.options)) if turn.role == "user" else turn for turn in turns]


def _fill(template: str, text: str, options: Sequence[str]) -> str:
    if template == "{{ input }}":
        return text
    try:
        return _compiled(template).render(input=text, options=options)
    except TemplateError as error:
        hint = "a template may use {{ input }}, {{ options }} and Jinja's own words"
        raise BadInput(f"the prompt's template fails: {error}", hint) from error
