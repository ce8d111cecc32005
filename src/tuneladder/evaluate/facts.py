"""Facts that a text names: numbers, names and quotations, by a rule that anybody can follow; and which of them another lacks.

It is meant for languages that write names, and few other words, with a capital.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LISTED = re.compile(r"^\s*\(?\d+[.)]\s|\b(?:step|reason|point|premise)\s+\d+\b", re.IGNORECASE | re.MULTILINE)
_SPELT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NAME = re.compile(r"[^\W\d_][\w-]*(?:['’][^\W\d_]+)?")
_OPENS = re.compile(r"(?:^|[.!?:…]|\n|[-*•–]\s)[\s\"'“”„«(\[*_]*$|[\"“„«(]$")
_QUOTED = re.compile(r"\"([^\"\n]{1,300})\"|[“„]([^“”„\n]{1,300})[”“]|«([^«»\n]{1,300})»")
_WORD = re.compile(r"[^\W_]+")


def strays(text: str, given: str, *, numbers: bool = True) -> tuple[str, ...]:
    """What the text names that does not stand in `given`, as it is written, each once: numbers (but of lists and steps), words
    with a capital that do not begin a sentence, and what stands in double quotes.

    Case and spacing do not count, 1,000 is 1000 and three is 3. `numbers` False leaves them out, where an answer is worked out.
    """
    found: dict[int, str] = {}
    if numbers:
        known = numbers_in(given)
        plain = _LISTED.sub(lambda match: " " * len(match[0]), text)
        found |= {match.start(): match[0] for match in _NUMBER.finditer(plain) if value_of(match[0]) not in known}
    words = {word.casefold() for word in _WORD.findall(given)}
    for match in _NAME.finditer(text):
        if _is_name(match[0]) and not _OPENS.search(text[: match.start()]) and not set(_parts(match[0])) <= words:
            found[match.start()] = match[0]
    whole = _folded(given)
    for match in _QUOTED.finditer(text):
        said = next(part for part in match.groups() if part is not None)
        if _folded(said) not in whole:
            found = {at: each for at, each in found.items() if not match.start() <= at < match.end()}
            found[match.start()] = said.strip()
    return tuple(dict.fromkeys(found[at] for at in sorted(found)))


def numbers_in(text: str) -> set[str]:
    """The values of the numbers in a text, those up to twelve in English words too."""
    spelt = {str(_SPELT.index(word)) for word in _WORD.findall(text.casefold()) if word in _SPELT}
    return spelt | {value_of(number) for number in _NUMBER.findall(text)}


def value_of(number: str) -> str:
    """`1,000` and `1000` are one value, and so are `2.50` and `2.5`; a comma before three digits parts thousands."""
    whole = re.sub(r",(?=\d{3}(?:\D|$))", "", number).replace(",", ".")
    return f"{float(whole):.12g}" if whole.count(".") < 2 else whole


def _is_name(word: str) -> bool:
    """Whether it has a capital as names do: of one letter it is a pronoun, or the name of an option."""
    return word[0].isupper() and len(word) > 1 and not word.startswith(("I'", "I’"))


def _parts(word: str) -> list[str]:
    """The words in a name, without a genitive's end."""
    return [part.casefold() for part in _WORD.findall(re.sub(r"['’]s$", "", word))]


def _folded(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))
