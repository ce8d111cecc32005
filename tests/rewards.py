"""Rewards that tests name as a user would: `tests.rewards:letters`."""

from __future__ import annotations


def letters(prompts: list[str], completions: list[str]) -> list[float]:
    """More vowels earn more, whatever was asked."""
    return [sum(letter in "aeiou" for letter in text) / 8 for text in completions]


def ends(prompts: list[str], completions: list[str]) -> list[float]:
    """By the last character: no two answers are likely to earn the same."""
    return [ord(text[-1]) / 128 if text else 0.0 for text in completions]


def always(prompts: list[str], completions: list[str]) -> list[float]:
    return [1.0] * len(completions)


def nothing(prompts: list[str], completions: list[str]) -> list[float]:
    return [float("nan")] * len(completions)


def words(prompts: list[str], completions: list[str]) -> list[str]:
    return ["good"] * len(completions)


def few(prompts: list[str], completions: list[str]) -> list[float]:
    return [1.0]


def broken(prompts: list[str], completions: list[str]) -> list[float]:
    raise KeyError("label")


def leaves(prompts: list[str], completions: list[str]) -> list[float]:
    raise SystemExit("done")
