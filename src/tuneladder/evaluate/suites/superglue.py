"""SuperGLUE (arXiv:1905.00537): eight harder tasks about texts, on validation, whose answers are public. Asked as
lm-eval's tasks of these names; `wsc`'s text is taken as it stands, where lm-eval mends the blanks around its punctuation;
MultiRC's label of 1 is a right answer, "yes", as in the data, where lm-eval takes it for "no".

CB is known by macro-F1 and accuracy, MultiRC by F1 over all its answers and by the share of questions of which every answer is
judged right, ReCoRD by SQuAD's exact match and F1, the others by accuracy. The average is the mean over the parts of the mean of
each one's figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tuneladder.evaluate.find import Metric
from tuneladder.evaluate.intervals import Array
from tuneladder.evaluate.suite import ACCURACY, Figure, Said, Source, Suite, asked, cell, f1_of, gold, likeliest, text
from tuneladder.store import digest
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Example

averaged = True
HUB = "aps/super_glue"
YES_NO = ("no", "yes")
RIGHT = {"accuracy": ACCURACY}
CONNECTORS = {"cause": "because", "effect": "therefore"}


def boolq(row: Row) -> str:
    return f"{text(row, 'passage')}\nQuestion: {text(row, 'question')}?\nAnswer:"


def cb(row: Row) -> str:
    return f"{text(row, 'premise')}\nQuestion: {text(row, 'hypothesis')}. True, False, or Neither?\nAnswer:"


def rte(row: Row) -> str:
    return f"{text(row, 'premise')}\nQuestion: {text(row, 'hypothesis')} True or False?\nAnswer:"


def wic(row: Row) -> str:
    first, second = text(row, "sentence1"), text(row, "sentence2")
    word = first[int(cell(row, "start1")) : int(cell(row, "end1"))]
    question = f"Is the word '{word}' used in the same way in the two sentences above?"
    return f"Sentence 1: {first}\nSentence 2: {second}\nQuestion: {question}\nAnswer:"


def wsc(row: Row) -> str:
    noun, pronoun = text(row, "span1_text"), text(row, "span2_text")
    whole = text(row, "text")
    before = " ".join(whole.split()[: int(cell(row, "span2_index"))])
    passage = f"{before} *{pronoun}*{whole[len(before) + len(pronoun) + 1 :]}".strip()
    question = f'In the passage above, does the pronoun "*{pronoun}*" refer to "*{noun}*"?'
    return f"Passage: {passage}\nQuestion: {question}\nAnswer:"


def copa(row: Row) -> Example:
    # the choices go on from the premise; the blank before them is lm-eval's
    options = [f" {choice[0].lower()}{choice[1:]}" for choice in (text(row, "choice1"), text(row, "choice2"))]
    connector = CONNECTORS[text(row, "question")]
    return asked(f"{text(row, 'premise').strip()[:-1]} {connector}", options, gold(row, options, "label"))


def multirc(row: Row) -> Example:
    options = [f"{text(row, 'answer')}\nIs the answer correct? {word}" for word in ("yes", "no")]
    right = "yes" if gold(row, YES_NO, "label") == "yes" else "no"
    question = f"{text(row, 'paragraph')}\nQuestion: {text(row, 'question')}\nAnswer:"
    return asked(question, options, right, worked=options[right == "no"])


def judged(example: Example, said: Said) -> str:
    """The word that ends an option of MultiRC."""
    return likeliest(example, said).rpartition(" ")[2]


def judged_of(example: Example, said: Said) -> str:
    """The question of MultiRC that an answer is to, and the word."""
    return f"{digest(example.turns)} {judged(example, said)}"


def _by_question(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 2): at the first answer to a question whether all answers to it are judged right, and one."""
    right: dict[str, bool] = {}
    for answer, own in zip(answers, references, strict=True):
        question, _, word = answer.partition(" ")
        right[question] = right.get(question, True) and word in own
    found = np.zeros((len(answers), 2))
    for at, answer in enumerate(answers):
        question = answer.partition(" ")[0]
        if question in right:
            found[at] = right.pop(question), 1
    return found


def _share(sums: Array) -> Array:
    right, count = sums.T
    return np.asarray(np.divide(right, count, out=np.zeros_like(right), where=count > 0))


BY_QUESTION = Metric("exact match by question", "higher", 1.0, (), "bootstrap", _by_question, _share)


def record(row: Row) -> Example:
    passage, *highlights = text(row, "passage").strip().split("\n@highlight\n")
    question = passage + "\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)
    entities, answers = (sorted({text_of(name) for name in cell(row, column)}) for column in ("entities", "answers"))
    query = text(row, "query")
    options = [f"  - {query}".replace("@placeholder", entity) for entity in entities]
    found = asked(question, options, *answers, worked=f"  - {query}".replace("@placeholder", answers[0]) if answers else None)
    return Example(found.id, found.turns, found.references, found.options, meta={**found.meta, "entities": entities})


def entity(example: Example, said: Said) -> str:
    return str(example.meta["entities"][example.options.index(likeliest(example, said))])


def _part(name: str, question: Callable[[Row], str], labels: tuple[str, ...], figures: Mapping[str, Figure] = RIGHT) -> Suite:
    def example(row: Row) -> Example:
        return asked(question(row), labels, gold(row, labels, "label"))

    return _of(name, example, figures, labels=labels)


def _of(
    name: str,
    example: Callable[[Row], Example],
    figures: Mapping[str, Figure],
    *,
    labels: tuple[str, ...] = (),
    version: int = 1,
) -> Suite:
    subset = "wsc.fixed" if name == "wsc" else name
    sources = (Source(HUB, split, (subset,)) for split in ("validation", "train"))
    validation, train = sources
    return Suite(f"superglue/{name}", validation, example, figures, shown=train, labels=labels, version=version)


parts = (
    _part("boolq", boolq, YES_NO),
    _part("cb", cb, ("True", "False", "Neither"), {"macro_f1": Figure("macro_f1", likeliest), "accuracy": ACCURACY}),
    _of("copa", copa, RIGHT),
    _of(
        "multirc",
        multirc,
        {"f1": Figure(f1_of("yes"), judged), "exact_match": Figure(BY_QUESTION, judged_of)},
        labels=YES_NO,
        version=2,
    ),
    _of("record", record, {"exact_match": Figure("squad_exact", entity), "f1": Figure("squad_f1", entity)}),
    _part("rte", rte, ("True", "False")),
    _part("wic", wic, YES_NO),
    _part("wsc", wsc, YES_NO),
)
