"""Does a base answer prompts? Accuracy and macro-F1, without and with shots, on small tasks that it never read
(`check_prompts.yaml`, and the desks that ship with the package). For choosing between mixtures: data/classification stays unseen.

python recipes/check_prompts.py [BASE]
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import yaml

from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import rate
from tuneladder.ladder.tree import root_of
from tuneladder.model import pocket
from tuneladder.model.ask import ask
from tuneladder.model.inspect import inspect
from tuneladder.model.shelf import Shelf
from tuneladder.task.read import read_rows
from tuneladder.task.shots import choose
from tuneladder.types import Engine, Example, Prompt, Score, Shots, Task, Turn

SHOTS = (0, 4, 8)
DRAWS = 3  # of the shots: their choice moves a score more than the base does
METRICS = ("accuracy", "macro_f1")


def tasks() -> dict[str, tuple[str, tuple[Example, ...]]]:
    """Instruction and examples of each task; an empty instruction is the tool's own."""
    found = {}
    for name, own in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")).items():
        rows = [(text, label) for label, texts in own["texts"].items() for text in texts]
        found[name] = (own["instruction"], _examples(rows))
    desks = [(row["message"], row["desk"]) for row in read_rows(str(pocket.shelf() / "desks" / "messages.csv"))]
    found["desks"] = ("Which desk should this message go to?", _examples(random.Random(0).sample(desks, 150)))
    return found


def _examples(rows: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
    return tuple(Example(str(n), (Turn("user", text),), (label,)) for n, (text, label) in enumerate(rows))


def answered(engine: Engine, instruction: str, examples: Sequence[Example], *, shots: int, draw: int) -> list[Score]:
    """Accuracy and macro-F1 of the answers; one half of each label's examples is shown while the other is asked."""
    labels = tuple(sorted({example.references[0] for example in examples}))
    said = instruction or f"Which of these fits the text: {', '.join(labels)}?"
    given: list[str] = []
    right: list[tuple[str, ...]] = []
    for half in (0, 1):
        shown, asked = examples[half::2], examples[1 - half :: 2]
        chosen = choose(shown, count=shots, choose="balanced", seed=draw, labels=labels)
        own = Shots(shots, "balanced", tuple(random.Random(draw).sample(chosen, shots))) if shots else None
        given += [answer.text for answer in ask(engine, Prompt(instruction=said, shots=own, ask="score"), asked, labels)]
        right += [example.references for example in asked]
    return [rate(find_metric(metric), given, right, labels, seed=0) for metric in METRICS]


def main(name: str) -> None:
    base = inspect(str(pocket.folder(name)) if pocket.is_meant(name) else name)
    with Shelf("cpu").engine(root_of(base, Task("check", "classify"))) as engine:
        for task, (instruction, examples) in tasks().items():
            counts = Counter(example.references[0] for example in examples)
            print(f"{task}: {len(examples)} texts, {len(counts)} labels, majority {max(counts.values()) / len(examples):.2f}")
            for shots in SHOTS:
                draws = [answered(engine, instruction, examples, shots=shots, draw=draw) for draw in range(DRAWS if shots else 1)]
                means = [fmean(scores[at].value for scores in draws) for at in range(len(METRICS))]
                print(f"  {shots} shots: " + ", ".join(f"{metric} {mean:.2f}" for metric, mean in zip(METRICS, means, strict=True)))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(sys.argv[1] if len(sys.argv) == 2 else pocket.DEFAULT)
