"""Several templates for one task, so that a model learns what is asked and not one way to ask it (instruction tuning:
arXiv:2109.01652, section 2.1; arXiv:2301.13688).

Each training row is asked by one of them, drawn by the seed and the row's content; dev and test by the first, so that what two
rungs answered can be compared. A template is Jinja over `input`, and over `labels` where the task has them, with commas between.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from tuneladder.errors import BadInput, unknown
from tuneladder.store import digest
from tuneladder.task.formats import variables
from tuneladder.types import Example

INPUT, LABELS = "input", "labels"

# By what is asked. The first of each is the plainest: it is what dev and test are asked with. None ends by opening the answer: a
# base's own template does that.
WORDINGS: dict[str, tuple[str, ...]] = {
    "classify": (
        "{{ input }}\n\nWhich of these fits the text: {{ labels }}?",
        "Read the text and say which label it belongs under.\nLabels: {{ labels }}\n\n{{ input }}",
        "Choose one of {{ labels }} for what follows.\n\n{{ input }}",
        "Text: {{ input }}\nPossible labels: {{ labels }}",
        "{{ input }}\n\nPut this under one heading. The headings are {{ labels }}.",
        "Someone sorts texts into {{ labels }}. Where does this one go?\n\n{{ input }}",
        "I have to file the text below as one of these: {{ labels }}. Which one is right?\n\n{{ input }}",
        "Options: {{ labels }}\n\n{{ input }}\n\nName the option that describes it best.",
    ),
    "infer": (
        "{{ input }}\n\nDoes the second text follow from the first?{% if labels %} Answer with {{ labels }}.{% endif %}",
        "Take the first of these texts as true. Must the second be true as well?{% if labels %} ({{ labels }}){% endif %}"
        "\n\n{{ input }}",
        "{{ input }}\n\nSuppose that you know only the first part. Can you conclude the second?"
        "{% if labels %} Say one of: {{ labels }}.{% endif %}",
        "How does the claim at the end relate to what stands before it?{% if labels %} Choose from {{ labels }}.{% endif %}"
        "\n\n{{ input }}",
        "Premise, then hypothesis:\n\n{{ input }}\n\nIs the hypothesis supported?{% if labels %} Options: {{ labels }}.{% endif %}",
        "Judge whether the last statement is justified by the text before it."
        "{% if labels %} Your verdict is one of {{ labels }}.{% endif %}\n\n{{ input }}",
    ),
    "paraphrase": (
        "{{ input }}\n\nDo these two texts mean the same?{% if labels %} Answer with {{ labels }}.{% endif %}",
        "Is the second of these only another way to say the first?{% if labels %} ({{ labels }}){% endif %}\n\n{{ input }}",
        "Compare the meaning of the two texts below.{% if labels %} Say one of: {{ labels }}.{% endif %}\n\n{{ input }}",
        "{{ input }}\n\nCould one text stand in place of the other without a change of meaning?"
        "{% if labels %} Options: {{ labels }}.{% endif %}",
        "Two people wrote this:\n\n{{ input }}\n\nDid they say the same thing?{% if labels %} Choose from {{ labels }}.{% endif %}",
        "Are these a pair of paraphrases?{% if labels %} Reply with {{ labels }}.{% endif %}\n\n{{ input }}",
    ),
    "summarize": (
        "Summarize this text.\n\n{{ input }}",
        "{{ input }}\n\nWhat is the text above about, in short?",
        "Write a brief summary of the following.\n\n{{ input }}",
        "{{ input }}\n\nGive the main points.",
        "Someone has no time to read this. Tell them what matters in it.\n\n{{ input }}",
        "Here is a text:\n{{ input }}\n\nShorten it to what is essential.",
        "{{ input }}\n\nSay it in a few words.",
        "Condense the passage below.\n\n{{ input }}",
    ),
    "answer": (
        "Answer the question.\n\n{{ input }}",
        "{{ input }}\n\nWhat is the answer?",
        "Question: {{ input }}",
        "Please give an answer to this:\n{{ input }}",
        "A student asks: {{ input }}\n\nHow do you reply?",
        "{{ input }}\n\nReply to the question above.",
        "I would like to know the following. {{ input }}",
        "Solve this and say the answer.\n\n{{ input }}",
    ),
    "translate": (
        "Translate this text.\n\n{{ input }}",
        "{{ input }}\n\nGive a translation of the text above.",
        "Say this in the other language: {{ input }}",
        "Original: {{ input }}\n\nNow the translation.",
        "How would a native speaker of the other language put the following?\n\n{{ input }}",
        "{{ input }}\n\nTranslate what stands above.",
    ),
    "extract": (
        "{{ input }}\n\nFind what is asked for in this text and copy it out.",
        "Pick the wanted piece out of the following.\n\n{{ input }}",
        "Text: {{ input }}\n\nExtract what is wanted.",
        "Read this and write down only the part that is looked for.\n\n{{ input }}",
        "{{ input }}\n\nTake from the text above what is needed, word for word.",
        "From the passage below, quote the relevant part.\n\n{{ input }}",
    ),
    "describe": (
        "Put these facts into a sentence.\n\n{{ input }}",
        "{{ input }}\n\nDescribe this in natural language.",
        "Data: {{ input }}\n\nWrite the text that belongs to it.",
        "Write a short text that says all of the following.\n\n{{ input }}",
        "{{ input }}\n\nTurn the record above into something that a person would say.",
        "Someone will read this aloud. Make fluent prose of it: {{ input }}",
        "Here are some facts:\n{{ input }}\n\nTell them to a reader.",
    ),
    "code": (
        "Write code for this task.\n\n{{ input }}",
        "{{ input }}\n\nWrite a program that does it.",
        "Task: {{ input }}\n\nNow the code.",
        "Implement what is described here.\n\n{{ input }}",
        "A colleague asks for this: {{ input }}\n\nReply with the code.",
        "{{ input }}\n\nShow how that is programmed.",
    ),
}


def templates_of(given: str | Sequence[str], labels: Sequence[str] = ()) -> tuple[str, ...]:
    """The templates that are meant by a name in WORDINGS, or the user's own. `labels` are the task's.

    Raises BadInput for a name that is not known, and for a template that is not Jinja, never shows the row, looks up what there is
    not, or stands twice.
    """
    if isinstance(given, str) and given not in WORDINGS:
        raise unknown("set of templates", given, WORDINGS, f"known: {', '.join(WORDINGS)}; or a list of your own")
    templates = WORDINGS[given] if isinstance(given, str) else tuple(given)
    if not templates:
        raise BadInput("templates is an empty list", f"name one or more, or one of: {', '.join(WORDINGS)}")
    for at, template in enumerate(templates):
        if not isinstance(template, str):
            raise BadInput(f"templates: {template!r} is not a text", "each is Jinja with {{ input }} in it")
        check_template(template, also=(LABELS,) if labels or isinstance(given, str) else ())
        if template in templates[:at]:
            raise BadInput(f"the template {template!r} stands twice", "a template is drawn as often as the others: leave one out")
    if given == "classify" and not labels:
        raise BadInput("the templates `classify` name the labels, and this task has none", "write templates of your own")
    return templates


def check_template(template: str, *, also: Sequence[str] = ()) -> None:
    """Raises BadInput for a template that is not Jinja, never shows the row, or looks up something beside `input` and `also`."""
    names = variables(template)
    if extra := sorted(names - {INPUT, *also}):
        raise unknown("variable in the prompt's template", extra[0], (INPUT, *also))
    if INPUT not in names:
        raise BadInput(f"the template {template!r} never shows the row", "put {{ input }} where the row's text belongs")


def names_labels(template: str) -> bool:
    return LABELS in variables(template)


def with_labels(templates: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The templates with the labels' words written into those that name them, so that `input` is all that is left to fill."""
    said = f"{{% set {LABELS} = {json.dumps(', '.join(labels), ensure_ascii=False)} %}}"
    return tuple(said + template if names_labels(template) else template for template in templates)


def worded(examples: Sequence[Example], templates: Sequence[str], *, seed: int) -> tuple[Example, ...]:
    """The examples, each with the one of the templates that the seed draws for it: by what it reads and learns, so that the same
    row is asked the same wherever it stands."""
    return tuple(
        replace(example, template=templates[int(digest(seed, example.turns, example.references), 16) % len(templates)])
        for example in examples
    )
