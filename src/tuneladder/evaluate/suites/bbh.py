"""BIG-Bench Hard (arXiv:2210.09261): 27 tasks that want reasoning, each after its three worked examples from the paper. Asked and
read as lm-eval's `bbh_cot_fewshot`.

The prompts are read from rows of `task` and `prompt`, a prompt being its description and its examples, with blank lines between.
Without shots a row is only invited to think step by step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tuneladder.errors import BadInput
from tuneladder.evaluate.suite import Figure, Said, Source, Suite, asked, text
from tuneladder.task.read import Row
from tuneladder.types import Decoding, Example

TASKS = (
    *("boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa", "dyck_languages", "formal_fallacies"),
    *("geometric_shapes", "hyperbaton", "logical_deduction_five_objects", "logical_deduction_seven_objects"),
    *("logical_deduction_three_objects", "movie_recommendation", "multistep_arithmetic_two", "navigate", "object_counting"),
    *("penguins_in_a_table", "reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection", "snarks"),
    *("sports_understanding", "temporal_sequences", "tracking_shuffled_objects_five_objects"),
    *("tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects", "web_of_lies", "word_sorting"),
)
INVITATION = "\nA: Let's think step by step."
_ANSWER = re.compile(r"(?<=the answer is )(.*)(?=.)")


def example(row: Row) -> Example:
    return asked(_question(text(row, "input")), (), text(row, "target"), subject=text(row, "task"))


def worked(rows: Sequence[Row]) -> tuple[Mapping[str, str], list[Example]]:
    """What stands before all, by task, and the shots, out of the prompts."""
    leads: dict[str, str] = {}
    shots: list[Example] = []
    for row in rows:
        task = text(row, "task", "dataset_name")
        _, _, prompt = f"\n-----\n{text(row, 'prompt', 'chain_of_thought_prompt')}".rpartition("\n-----\n")
        lead, *given = re.split(r"\n\n(?=Q: )", prompt.strip())
        leads[task] = f"{lead}\n\n"
        for shot in given:
            question, invited, reasons = shot.removeprefix("Q: ").partition(INVITATION)
            if not invited:
                raise BadInput(f"a worked example of {task} has no {INVITATION.strip()!r}", f"it reads {shot[:80]!r}")
            shots.append(asked(_question(question), (), reasons.strip(), subject=task))
    return leads, shots


def answer(example: Example, said: Said) -> str:
    found = _ANSWER.search(said.text)
    return found.group().strip() if found else ""


def _question(given: str) -> str:
    return f"Q: {given}{INVITATION}\n"


parts = (
    Suite(
        "bbh",
        Source("SaylorTwift/bbh", "test", TASKS, "task"),
        example,
        {"exact_match": Figure("accuracy", answer)},
        shots=3,
        shown=Source("Joschka/big_bench_hard", "few_shot_prompts", ("few_shot_prompts",)),
        worked=worked,
        gap="",
        decoding=Decoding(max_new_tokens=1024, stop=("</s>", "Q", "\n\n")),
    ),
)
