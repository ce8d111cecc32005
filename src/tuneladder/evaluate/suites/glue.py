"""GLUE (arXiv:1804.07461): nine tasks about sentences, on validation, whose answers are public. Asked as lm-eval's tasks of these
names; `stsb`, which lm-eval has not, asks for a degree of likeness from 0 to 5 and answers with its mean.

CoLA is known by Matthews' correlation, MRPC and QQP by F1 and accuracy, STS-B by Pearson's and Spearman's correlation, the others
by accuracy. The average is the mean over the tasks, MNLI's two parts being one, of the mean of each one's figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tuneladder.errors import BadInput
from tuneladder.evaluate.suite import ACCURACY, Figure, Source, Suite, asked, expected, f1_of, gold, likeliest, text
from tuneladder.task.read import Row
from tuneladder.types import Example

averaged = True
HUB = "nyu-mll/glue"
DEGREES = ("0", "1", "2", "3", "4", "5")
ALIKE = {"f1": Figure(f1_of("yes"), likeliest), "accuracy": ACCURACY}
RIGHT = {"accuracy": ACCURACY}


def cola(row: Row) -> str:
    return f"{text(row, 'sentence', 'text')}\nQuestion: Does this sentence make sense?\nAnswer:"


def sst2(row: Row) -> str:
    return f"{text(row, 'sentence', 'text')}\nQuestion: Is this sentence positive or negative?\nAnswer:"


def mrpc(row: Row) -> str:
    pair = f"Sentence 1: {text(row, 'sentence1')}\nSentence 2: {text(row, 'sentence2')}"
    return f"{pair}\nQuestion: Do both sentences mean the same thing?\nAnswer:"


def qqp(row: Row) -> str:
    pair = f"Question 1: {text(row, 'question1')}\nQuestion 2: {text(row, 'question2')}"
    return f"{pair}\nQuestion: Do both questions ask the same thing?\nAnswer:"


def mnli(row: Row) -> str:
    claim = text(row, "hypothesis").strip()
    claim = claim if claim.endswith(".") else f"{claim}."
    return f"{text(row, 'premise')}\nQuestion: {claim} True, False or Neither?\nAnswer:"


def qnli(row: Row) -> str:
    return f"{text(row, 'question')}\n{text(row, 'sentence')}\nQuestion: Does this response answer the question?\nAnswer:"


def entails(row: Row) -> str:
    first, second = text(row, "sentence1", "premise"), text(row, "sentence2", "hypothesis")
    return f"{first}\nQuestion: {second} True or False?\nAnswer:"


def stsb(row: Row) -> Example:
    pair = f"Sentence 1: {text(row, 'sentence1')}\nSentence 2: {text(row, 'sentence2')}"
    question = f"{pair}\nQuestion: How alike are the two sentences, from 0 to 5?\nAnswer:"
    degree = _number(text(row, "label"))
    # what a shot shows is one of the degrees
    return asked(question, DEGREES, repr(degree), worked=DEGREES[round(degree)])


def _number(given: str) -> float:
    try:
        degree = float(given)
    except ValueError:
        degree = -1.0
    if not 0 <= degree <= 5:
        raise BadInput(f"its gold answer is missing (label is {given!r})", "STS-B's degrees are from 0 to 5")
    return degree


def _part(
    name: str,
    question: Callable[[Row], str],
    labels: tuple[str, ...],
    figures: Mapping[str, Figure] = RIGHT,
    *,
    split: str = "validation",
    called: Mapping[str, str] | None = None,
    together: str = "",
) -> Suite:
    """A part with one question and the same labels for every row, of which `called` are other copies' names."""

    def example(row: Row) -> Example:
        named = (called or {}).get(str(row.get("label")), row.get("label"))
        return asked(question(row), labels, gold({**row, "label": named}, labels, "label"))

    subset = name.removesuffix("_mismatched")
    train = Source(HUB, "train", (subset,))
    return Suite(f"glue/{name}", Source(HUB, split, (subset,)), example, figures, shown=train, labels=labels, together=together)


YES_NO = ("no", "yes")
parts = (
    _part("cola", cola, YES_NO, {"matthews": Figure("matthews", likeliest)}, called={"unacceptable": "no", "acceptable": "yes"}),
    _part("sst2", sst2, ("negative", "positive")),
    _part("mrpc", mrpc, YES_NO, ALIKE),
    _part("qqp", qqp, YES_NO, ALIKE),
    Suite(
        "glue/stsb",
        Source(HUB, "validation", ("stsb",)),
        stsb,
        {"pearson": Figure("pearson", expected), "spearman": Figure("spearman", expected)},
        shown=Source(HUB, "train", ("stsb",)),
    ),
    _part("mnli", mnli, ("True", "Neither", "False"), split="validation_matched", together="mnli"),
    _part("mnli_mismatched", mnli, ("True", "Neither", "False"), split="validation_mismatched", together="mnli"),
    _part("qnli", qnli, ("yes", "no")),
    _part("rte", entails, ("True", "False"), called={"entailment": "True", "not_entailment": "False"}),
    _part("wnli", entails, ("False", "True")),
)
