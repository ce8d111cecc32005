"""The same instruction in other words: does a rung do what is meant, or what it was told word for word?

What the tool itself asks with is said anew. An instruction that a person wrote, or that was searched for, is only framed: no rule
says in other words what somebody else meant.
"""

from __future__ import annotations

from tuneladder.task.build import RECORD, prompt_of
from tuneladder.types import Prompt, Task

FRAMES = ("Your task is this. {}", "Please do what is said here. {}", "Here is what I need. {}")
ONE = (
    "Say which of these the text belongs to: {labels}.",
    "Choose the one of {labels} that describes the text best.",
    "Sort the text into one of these: {labels}.",
)
ONE_OF_MANY = ("Name the label that the text belongs under.", "Say how the text should be labelled.")
SEVERAL = (
    "List every one of these labels that the text deserves, or write none: {labels}.",
    "Here are some labels: {labels}. Name each that suits the text; where none does, say none.",
)
TAGS = (
    "For every word, in order, write one of these tags, parted by blanks: {labels}.",
    "Tag the words one after the other, with a blank between two tags. The tags are {labels}.",
)
OBJECT = ("Turn the text into a JSON object.", "Put what the text tells into a JSON object.")


def rewordings(task: Task, prompt: Prompt) -> tuple[str, ...]:
    """Other ways to say a prompt's instruction; none where it has none."""
    if not prompt.instruction:
        return ()
    labels = ", ".join(task.labels)
    if prompt.instruction == RECORD:
        return OBJECT
    own = prompt_of(task.kind, task.labels, None, "", None, None, 0, multi_label=task.multi_label).instruction
    if prompt.instruction != own:
        return tuple(frame.format(prompt.instruction) for frame in FRAMES)
    named = labels in own
    asked: tuple[str, ...] = FRAMES
    if task.kind == "tag":
        asked = TAGS
    elif not task.multi_label:
        asked = ONE if named else ONE_OF_MANY
    elif named:
        asked = SEVERAL
    return tuple(one.format(own, labels=labels) for one in asked)
