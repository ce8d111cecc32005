"""Rows for examples/arithmetic.yaml: sums and differences of small numbers, told in words, each with the number that is right.

    python examples/arithmetic.py     # train.jsonl, dev.jsonl and test.jsonl, in the folder `arithmetic` beside this file

Two numbers that are added or taken away in one split are not in another, so that what is measured was not learned by heart.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

NAMES = ("Ana", "Ben", "Mia", "Omar", "Sue", "Tom")
THINGS = ("apples", "books", "cards", "coins", "shells", "stamps")
MORE = (
    "{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?",
    "There are {a} {things} in a box. {name} puts {b} more into it. How many {things} are in the box?",
)
FEWER = (
    "{name} has {a} {things} and gives {b} away. How many {things} are left?",
    "There are {a} {things} on a table. {name} takes {b} of them. How many {things} are left on the table?",
)
MOST = 20  # numbers are from 1 to this
ROWS = {"train": 800, "dev": 150, "test": 400}


def made() -> dict[str, list[dict[str, str]]]:
    """The rows of each split; a split has as large a share of the pairs of numbers as it has of the rows."""
    draw, numbers = random.Random(0), range(1, MOST + 1)
    pairs = [(a, b, a + b, MORE) for a in numbers for b in numbers] + [(a, b, a - b, FEWER) for a in numbers for b in range(1, a)]
    draw.shuffle(pairs)
    found: dict[str, list[dict[str, str]]] = {}
    start = 0
    for split, count in ROWS.items():
        end = start + round(len(pairs) * count / sum(ROWS.values()))
        questions: dict[str, str] = {}
        while len(questions) < count:
            a, b, answer, told = draw.choice(pairs[start:end])
            text = draw.choice(told).format(name=draw.choice(NAMES), things=draw.choice(THINGS), a=a, b=b)
            questions[text] = str(answer)
        found[split] = [{"question": text, "answer": answer} for text, answer in questions.items()]
        start = end
    return found


def write(folder: Path) -> None:
    """A file for each split."""
    folder.mkdir(exist_ok=True)
    for split, rows in made().items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        print(f"{folder / split}.jsonl: {len(rows):,} rows")


if __name__ == "__main__":
    write(Path(__file__).parent / "arithmetic")
