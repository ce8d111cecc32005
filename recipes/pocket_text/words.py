"""The words of `words.yaml`, each list under its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_FOUND: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))


def _words(name: str) -> tuple[str, ...]:
    return tuple(_FOUND[name].split())


FIRST_NAMES, LAST_NAMES = _words("first_names"), _words("last_names")
CITIES, COUNTRIES, DAYS = _words("cities"), _words("countries"), _words("days")
NUMBERS, JOBS, THINGS = _words("numbers"), _words("jobs"), _words("things")
POSITIVE, NEGATIVE = _words("positive"), _words("negative")
GLAD, GRIM, TURNS_ROUND = (frozenset(_words(name)) for name in ("glad", "grim", "turns_round"))
SYMBOLS, FUNCTION_WORDS = _words("symbols"), frozenset(_words("function_words"))
PRAISE, BLAME, WHEN = (tuple(_FOUND[name]) for name in ("praise", "blame", "when"))
TOPICS: dict[str, dict[str, list[str]]] = _FOUND["topics"]
MARKS = {topic: frozenset(words["mark"].split()) for topic, words in _FOUND["topics"].items()}
NEIGHBOURS = [set(pair) for pair in _FOUND["neighbours"]]
INTENTS: dict[str, list[str]] = _FOUND["intents"]
KINDS = {kind: tuple(words.split()) for kind, words in _FOUND["kinds"].items()}
KINDS |= {"country": COUNTRIES, "city": CITIES, "job": JOBS, "person's name": FIRST_NAMES}
PAIRS: list[tuple[str, str]] = [(right, wrong) for right, wrong in _FOUND["pairs"]]
