"""A Task from data: read, recognise, map the labels, split, and take out what leaks."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args

from tuneladder.errors import BadInput, shown, unknown
from tuneladder.numbers import is_whole
from tuneladder.task.formats import (
    Format,
    check_columns,
    holds,
    is_template,
    list_of,
    recognise,
    text_of,
    to_example,
    value_of,
    without_header,
)
from tuneladder.task.groups import asked_about, groups_of
from tuneladder.task.labels import Words, label_weights, label_words
from tuneladder.task.leaks import Leak
from tuneladder.task.multi_label import gathered, hold_lists, joined, labels_of, name_sets, rarest, separator_of, to_labelled
from tuneladder.task.numerals import as_number, is_numeral
from tuneladder.task.options import Choosing, choosing, with_options
from tuneladder.task.read import Row, columns_of, hub_splits, line_in, read_rows
from tuneladder.task.record import record_in, record_of, to_record
from tuneladder.task.schema import compact, guessed, read_schema
from tuneladder.task.split import make_splits, share_sources
from tuneladder.task.tagging import metric_of, tag_words, to_tagged, words_of
from tuneladder.task.wordings import check_template, names_labels, templates_of, with_labels, worded
from tuneladder.types import Decoding, Example, Kind, Prompt, Task

METRICS = {
    "classify": "macro_f1",
    "tag": "span_f1",
    "generate": "rouge_l",
    "extract": "exact_match",
    "choose": "accuracy",
    "chat": "rouge_l",
}
RECORD_METRIC = "entity_f1"
EXACT = "exact_match"  # of numbers
NUMBERED = ("generate", "extract", "chat")  # whose answers may be numbers
SETS_METRIC = "micro_f1"  # of rows with several labels: a macro-F1 of rare ones jumps with a row
SPLITS = ("train", "dev", "test")
LENGTHS = {
    "classify": 16,
    "tag": 256,
    "generate": 64,
    "extract": 32,
    "choose": 32,
    "chat": 128,
    "prefer": 128,
}  # new tokens an answer may have
NORMALISED = ("characters", "bytes", "tokens", "none")
RECORD = "Write what the text says as a JSON object."
LONGEST = 256  # of several labels or tags, however long those of train are; an object or a text may have twice as many
BYTES = 3  # of a token of prose, or fewer than it has, in most tokenizers and scripts
FEW = 5  # rows or labels that a note names
_HUB_NAMES = {"train": ("train",), "dev": ("validation", "dev", "val", "valid"), "test": ("test",)}


def room_for(
    kind: str, rows: Sequence[Example], *, schema: object = "", multi_label: bool = False, context: int | None = None
) -> int:
    """The most new tokens of an answer where nobody says how many: of labels, tags and objects those of the longest of train; of
    texts those of all but the longest twentieth, within a quarter of the `context`, which the prompt needs too."""
    if not rows or (kind not in ("tag", "generate", "extract", "chat") and not multi_label):
        return LENGTHS[kind]
    sizes = sorted(len(row.references[0].encode()) for row in rows)
    if kind == "tag" or multi_label or schema:
        return min(LONGEST * (2 if schema else 1), 8 + sizes[-1])
    most = 2 * LONGEST if context is None else min(2 * LONGEST, context // 4)
    return max(LENGTHS[kind], min(most, 8 + sizes[math.ceil(0.95 * len(sizes)) - 1] // BYTES))


@dataclass(frozen=True)
class Findings:
    """What was found in the data. `notes` are the sentences to say aloud.

    `duplicates` counts rows whose text stood in their split before, `conflicts` texts that come with different labels, `empty`
    the rows dropped because they had nothing to read or nothing to learn, `rows` what is left of each split, `weights` are those of
    the sets of a mixture.
    """

    format: str
    rows: Mapping[str, int]
    leaks: tuple[Leak, ...] = ()
    duplicates: int = 0
    conflicts: int = 0
    empty: int = 0
    notes: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


def build(
    *,
    name: str,
    kind: str,
    data: str | Mapping[str, str],
    input: str | None = None,
    target: str | Mapping[str, str] | Sequence[str] | None = None,
    references: str = "apart",
    multi_label: bool | None = None,
    separator: str | None = None,
    labels: Mapping[Any, str] | Sequence[Any] | None = None,
    options: str | Sequence[str] | None = None,
    normalise: str | None = None,
    schema: Mapping[str, Any] | str | None = None,
    answer: str | None = None,
    tests: str | None = None,
    metric: str | None = None,
    also: Sequence[str] = (),
    instruction: str | None = None,
    system: str = "",
    template: str | None = None,
    templates: str | Sequence[str] | None = None,
    class_weights: str | Mapping[Any, Any] | None = None,
    rows: Mapping[str, int] | None = None,
    group: str | None = None,
    decoding: Decoding | None = None,
    seed: int = 0,
) -> tuple[Task, Findings]:
    """The task and what was found in its data.

    `data` is a file, a hub id, {train, dev, test} of these, or {hub, subset, revision}. A missing test split is 20 % of the rows
    (at most 2,000), a missing dev split 15 % of what is left (at most 1,000); `rows` caps a split, or sets the size of one that is
    made. `input` and `target` are columns or Jinja, and may be left out where the format is recognised. `labels` maps values to
    words, or lists the words (of tags: task/tagging.py). `choose` takes its options from the column or columns `options`, or from
    those that are called so (task/options.py), and ranks them by their log-probability for each of what `normalise` names:
    `characters`, unless it says `bytes`, `tokens` or `none`. `extract` learns JSON objects of a `schema` (task/schema.py), or the
    path of one, where the target is a column of objects or a list of columns: left out, it is made from the rows; a target of texts
    is extracted as it is. `answer: number` takes references, and what is written, for the number that they come to
    (task/numerals.py). `tests`, a column or Jinja, is the code that tries a row's answers (evaluate/metrics/pass_at_k.py).
    `target` may differ by split: {train, dev, test}. `multi_label`: a row of a classification has several labels or none, parted by
    `separator` where they are one text; left out, it is so where the target holds lists, a separator is given, or `target` names a
    column of yes or no for each label. `references: together` makes one row of the dev or test rows that read the same, with all
    their references; `group`, a column or Jinja, is what group a row is of (task/groups.py). The task is measured by `metric`, and
    `also` by others. `templates` are a name of task/wordings.py or several of the user's own; `class_weights` are those of
    task/labels.py. Raises BadInput for data or settings that make no such task.
    Plain text has a builder of its own (task/corpus.py), and so have several data sets in one task (task/mixture.py).
    """
    if kind not in METRICS:
        raise unknown("kind of task", kind, get_args(Kind))
    check_asked(kind, rows, template, templates)
    _check_answers(target, references, kind, multi_label, separator)
    _check_choice(kind, options, normalise, labels)
    if schema is not None and kind != "extract":
        raise BadInput(f"schema is of objects that are extracted, and this task is of kind {kind}", "kind: extract")
    _check_numbers(answer, kind, schema, tests)
    if tests is not None and kind != "generate":
        raise BadInput(f"tests try code that is generated, and this task is of kind {kind}", "kind: generate")
    if class_weights is not None and kind != "classify":
        raise BadInput(f"class_weights weigh the rows of a classification, and this task is of kind {kind}", "leave them out")
    read = read_examples(
        data,
        kind=kind,
        input=input,
        target=target,
        multi_label=multi_label,
        separator=separator,
        options=options,
        schema=read_schema(schema) if schema is not None else None,
        guess_schema=True,
        tests=tests,
        group=group,
    )
    examples, notes, several = read.examples, list(read.notes), read.multi_label
    if answer and read.schema:
        raise BadInput("answer: number, and the target holds objects", "leave `answer` out, or name the column of the numbers")
    if answer:
        examples, said = _numbered(examples)
        notes += said
    elif kind in NUMBERED and _all_numerals(examples):
        notes.append("every answer is a number: with `answer: number`, 18.00 or $18 in what is written is right where 18 is")
    if kind == "tag":
        examples, words = tag_words(examples, labels)
    elif several:
        _check_sets(class_weights, templates)
        examples, words = name_sets(examples, labels if labels is not None else _flags(target) or None)
    else:
        words = _words(examples, kind, labels)
    if words.of:
        examples = {split: [replace(e, references=(words.of[e.references[0]],)) for e in part] for split, part in examples.items()}
    examples = share_sources(examples)
    duplicates, conflicts = _repeats(examples, kind)
    notes += words.notes
    if duplicates:
        notes.append(f"{duplicates:,} rows repeat the text of an earlier one; no split parts them")
    if conflicts:
        notes.append(f"{conflicts:,} texts come with different labels: no model can be right on all of them")
    least = rarest(examples["train"], words.words) if several else {}
    split, leaks, done = make_splits(
        examples,
        rows=rows or {},
        seed=seed,
        stratum=lambda e: least[e.references[0]] if several else e.references[0] if words.of else "",
        together=references == "together",
    )
    if (words.of or several) and len({example.references[0] for example in split.train}) < 2:
        if several:
            raise BadInput("after the split, train has one set of labels only", "add rows with others")
        few = "raise `rows: {train: ...}`, or " if (rows or {}).get("train") else ""
        raise BadInput("after the split, train has one label only", f"{few}add rows of the other labels")
    asked = () if templates is None else templates_of(templates, words.words)
    if asked and all(map(names_labels, asked)):
        instruction = instruction or ""  # they ask for a label themselves
    asked = with_labels(asked, words.words)
    if asked:
        split = replace(split, train=worded(split.train, asked, seed=seed))
        notes.append(f"{len(asked)} templates, one for each training row; dev and test are asked by the first")
    if absent := _absent(words.words, split.test, kind="multi_label" if several else kind):
        notes.append(f"no test row has the label {absent}: how well that is found nobody can say")
    counted = Counter(example.references[0] for example in split.train)
    weights = label_weights(class_weights, words.words, counted) if class_weights is not None else {}
    if weights:
        notes.append("in the loss a row counts " + ", ".join(f"{weight:.3g} ({word})" for word, weight in weights.items()))
    most = room_for(kind, split.train, schema=read.schema, multi_label=several)
    decoding = decoding or Decoding(max_new_tokens=most, seed=seed)
    prompt = prompt_of(kind, words.words, instruction, system, asked[0] if asked else template, decoding, seed, multi_label=several)
    if kind == "choose" and not words.words:
        prompt = replace(prompt, normalise=normalise or "characters")  # type: ignore[arg-type]  # one of NORMALISED
    if read.schema:
        prompt = replace(
            prompt, parse="json", schema=compact(read.schema), instruction=RECORD if instruction is None else instruction
        )
    if answer:
        prompt = replace(prompt, parse="number")
    told = EXACT if answer else METRICS[kind]
    own_metric = metric_of(words.words) if kind == "tag" else SETS_METRIC if several else told
    task = Task(
        name=name,
        kind=kind,  # type: ignore[arg-type]  # one of METRICS
        examples=split,
        prompt=prompt,
        labels=words.words,
        weights=weights,
        metric=metric or (RECORD_METRIC if read.schema else own_metric),
        also=tuple(also),
        multi_label=several,
        groups=asked_about(read.groups, split.test, group) if group is not None else {},
    )
    counts = {part: len(getattr(split, part)) for part in SPLITS}
    return task, Findings(read.format, counts, tuple(leaks), duplicates, conflicts, read.empty, (*notes, *done))


@dataclass(frozen=True)
class Read:
    """The examples of each split that the data has; `empty` counts the rows that were dropped, `format` is the rows' own. Where the
    rows are `multi_label`, an example's references are its labels; where they have a `schema`, objects of it. `groups` are of the
    examples' ids."""

    format: str
    examples: dict[str, list[Example]]
    empty: int
    notes: tuple[str, ...]
    multi_label: bool = False
    schema: Mapping[str, Any] | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


def read_examples(
    data: str | Mapping[str, str],
    *,
    kind: str,
    input: str | None,
    target: str | Mapping[str, str] | Sequence[str] | None,
    where: str = "",
    name: str = "",
    multi_label: bool | None = None,
    separator: str | None = None,
    options: str | Sequence[str] | None = None,
    schema: Mapping[str, Any] | None = None,
    guess_schema: bool = False,
    tests: str | None = None,
    group: str | None = None,
) -> Read:
    """The rows of a data set as examples of a kind of task, each with its `tests` in `meta`, and the `group` each is of. Objects
    that are extracted fit the `schema`, or make it where it is to be guessed. `where` is a Jinja expression that a row must
    satisfy; `name` stands before the ids, where several sets lie side by side. Raises BadInput for data that make none."""
    found, places = load_splits(data)
    if flags := _flags(target):
        for part, part_rows in found.items():
            for column in flags:
                check_columns(column, part_rows, places[part])
        if kind == "extract":
            target = flags[0]
        else:
            target = ", ".join(flags)
            found = {part: gathered(part_rows, flags, target, places[part]) for part, part_rows in found.items()}
    formats = _formats(found, places, kind, input, target)  # type: ignore[arg-type]  # a list of columns is one column now
    format = formats["train"]
    notes = [f"read as {format.name}: {_said(format)}"]
    if kind == "classify":
        _refuse_objects(found, formats, places)
    several, parted = _sets(found, formats, kind, True if flags else multi_label, separator)
    learned = {part: flags or format.target for part, format in formats.items()}
    if kind == "extract" and schema is None and guess_schema and (flags or _hold_records(found["train"], formats["train"])):
        cells = [record_of(row, learned[part], f"{n}") for part in found for n, row in enumerate(found[part], 1)]
        schema = guessed([cell for cell in cells if cell])
        notes.append("the schema is made from the rows: " + ", ".join(schema["properties"]))
    for asked in [own for own in (tests, group) if own is not None]:
        for part, part_rows in found.items():
            check_columns(asked, part_rows, places[part])
    if several and not flags:
        notes.append("a row may have several labels: " + (f"a text with {parted!r} between them" if parted else "a list"))
    own_options = choosing(found, formats, places, options) if kind == "choose" else None
    if own_options:
        counted = ", answers count them from 1" if own_options.first else ""
        notes.append(f"chosen from: {', '.join(f'`{column}`' for column in own_options.columns)}{counted}")
    examples: dict[str, list[Example]] = {}
    groups: dict[str, str] = {}
    empty: list[str] = []  # the ids of rows that make no example
    for part, part_rows in found.items():
        before = "".join(f"{own}:" for own in (name, part if len(found) > 1 else "") if own)
        numbered = [(f"{before}{n}", row) for n, row in enumerate(part_rows, 1)]
        if where:
            check_columns(f"{{{{ {where} }}}}", part_rows, places[part])
            numbered = [(id, row) for id, row in numbered if holds(where, row, id)]
            if not numbered:
                raise BadInput(f"no row of {places[part]} satisfies {where!r}", "it is Jinja over the row's columns")
        if several:
            made = [to_labelled(formats[part], row, id, parted) for id, row in numbered]
        elif kind == "extract" and schema is not None:
            made = [to_record(formats[part], row, id, learned[part], schema) for id, row in numbered]
        else:
            made = [_example(formats[part], row, id, kind, own_options, places[part]) for id, row in numbered]
        if group is not None:
            groups |= groups_of(group, numbered)
        if tests is not None:
            made = [_tested(example, tests, row, id) for example, (id, row) in zip(made, numbered, strict=True)]
        kept = [example for example in made if example]
        if "hub" in data and part != "train" and {example.references for example in kept} <= {("-1",)}:
            notes.append(f"the {part} split of {places[part]} is not used: its answers are hidden")
            continue
        if not kept:
            raise BadInput(
                f"no row of {places[part]} has both something to read and an answer ({len(made):,} rows)", _said(formats[part])
            )
        examples[part] = kept
        empty += [id for (id, _), example in zip(numbered, made, strict=True) if not example]
    if empty:
        what = "never labelled" if several else "empty answer"
        which = ", ".join(empty[:FEW]) + (", ..." if len(empty) > FEW else "")
        dropped = "1 row was" if len(empty) == 1 else f"{len(empty):,} rows were"
        notes.append(f"{dropped} dropped: empty input or {what} ({which})")
    if schema is not None:
        notes.append(_filled(examples["train"], schema))
    return Read(format.name, examples, len(empty), tuple(notes), several, schema, groups)


def _hold_records(rows: Sequence[Row], format: Format) -> bool:
    """Whether the target's cells are objects: of the first 100, the first that is filled tells."""
    cells = [value_of(format.target, row, "") for row in rows[:100]] if format.target else []
    filled = [cell for cell in cells if cell not in (None, "")]
    return bool(filled) and record_in(filled[0]) is not None


def _filled(examples: Sequence[Example], schema: Mapping[str, Any]) -> str:
    """How often each field is there to learn."""
    records = [json.loads(example.references[0]) for example in examples]
    shares = {
        name: sum(record.get(name) not in (None, "", []) for record in records) / len(records) for name in schema["properties"]
    }
    return "fields filled in train: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


def _tested(example: Example | None, tests: str, row: Row, id: str) -> Example | None:
    code = text_of(value_of(tests, row, id), id)
    if example is not None and not code.strip():
        raise BadInput(f"row {id} has no tests in {tests!r}", "the code that tries an answer; leave the row out")
    return example and replace(example, meta={**example.meta, "tests": code})


def _check_sets(class_weights: Any, templates: Any) -> None:
    """Raises BadInput for settings that rows with several labels have no use for."""
    if class_weights is not None:
        hint = "leave them out; each label is learned for itself"
        raise BadInput("class_weights weigh a row by its one label, and these rows may have several", hint)
    if templates == "classify":
        raise BadInput("the templates `classify` ask for one label, and these rows may have several", "write templates of your own")


def _flags(target: str | Mapping[str, str] | Sequence[str] | None) -> list[str]:
    """The columns of a target that has one for each label."""
    return [] if target is None or isinstance(target, str | Mapping) else list(target)


def _refuse_objects(found: Mapping[str, list[Row]], formats: Mapping[str, Format], places: Mapping[str, str]) -> None:
    """Raises BadInput for labels that are objects or lists of these: the word that is meant stands inside of them. A message is
    one that says its text."""
    for part, rows in found.items():
        column = formats[part].target
        for number, row in enumerate(rows, 1):
            cell = row.get(column)
            for each in cell if isinstance(cell, list | tuple) else [cell]:
                if not isinstance(each, dict | list | tuple) or (isinstance(each, dict) and {"role", "from"} & set(each)):
                    continue
                hint = "a label is a word or a number, and a list of these where a row has several"
                words = [key for key, own in each.items() if isinstance(own, str | int)] if isinstance(each, dict) else []
                if words and each is cell:
                    hint = f"name what stands inside: target: '{{{{ {column}.{words[0]} }}}}'"
                raise BadInput(f"row {number} of {places[part]}: its label is no word: {text_of(cell)[:80]}", hint)


def _sets(
    found: Mapping[str, list[Row]], formats: Mapping[str, Format], kind: str, multi_label: bool | None, separator: str | None
) -> tuple[bool, str | None]:
    """Whether rows have sets of labels, and what parts these where they are texts."""
    if kind != "classify" or multi_label is False:
        return False, None
    targets = {part: format.target for part, format in formats.items() if format.target}
    cells = [value_of(targets[part], row, str(n)) for part in targets for n, row in enumerate(found[part], 1)]
    if separator is not None:
        if separator and not any(separator in str(cell) for cell in cells if cell is not None):
            raise BadInput(
                f"separator is {separator!r}, and it stands in no row's label", "say what parts two labels, or leave it out"
            )
        return True, separator
    if hold_lists(cells):
        return True, None
    if not multi_label or all(list_of(cell) is not None for cell in cells if cell is not None):
        return bool(multi_label), None
    parted = separator_of(cells)
    if parted is None:
        raise BadInput("multi_label is set, and no row has two labels", "say what parts them: separator: ' '; or leave it out")
    return True, parted


def check_asked(kind: str, rows: Mapping[str, int] | None, template: str | None, templates: str | Sequence[str] | None) -> None:
    """Raises BadInput for sizes of splits and for templates that cannot be, before any data is read."""
    for split, count in (rows or {}).items():
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if not is_whole(count) or count < 1:
            raise BadInput(f"rows: {split} is {shown(count)}", "a whole number, 1 or more")
    if template is not None:
        check_template(template, also=("options",) if kind == "choose" else ())
    if templates is not None:
        if template is not None:
            raise BadInput("`template` and `templates` are both given", "keep one of them: dev and test are asked by the first")
        if kind == "tag":
            raise BadInput("`templates` are given, and of kind tag the words are read as they stand", "leave them out")
        templates_of(templates, ("a label",) if kind in ("classify", "choose") else ())


def _check_answers(
    target: str | Mapping[str, str] | Sequence[str] | None,
    references: str,
    kind: str,
    multi_label: bool | None,
    separator: str | None,
) -> None:
    flags = _flags(target)
    for name, given in {"multi_label": multi_label, "separator": separator, "a list of columns as target": flags or None}.items():
        if given is not None and kind != "classify" and not (given is flags and kind == "extract"):
            raise BadInput(
                f"{name} is of a classification whose rows have several labels, and this task is of kind {kind}", "leave it out"
            )
    if multi_label is False and (flags or separator is not None):
        other = "target lists a column for each label" if flags else f"separator is {separator!r}"
        raise BadInput(f"multi_label is false, but {other}", "leave one of them out")
    if flags and separator is not None:
        raise BadInput("target lists a column for each label, and separator parts labels in one", "leave `separator` out")
    if flags and len(set(flags)) < max(2, len(flags)):
        raise BadInput(f"target lists the columns {', '.join(flags)}", "two or more, each once")
    if flags and kind == "extract" and not all(isinstance(column, str) for column in flags):
        raise BadInput(f"target is {flags!r}", "a list of columns, each a field of the object")
    if separator == "":
        raise BadInput("separator is an empty text", "what stands between two labels, for example ;")
    for split, column in target.items() if isinstance(target, Mapping) else ():
        if split not in SPLITS:
            raise unknown("split", str(split), SPLITS)
        if not isinstance(column, str) or not column:
            raise BadInput(f"target: {split} is {column!r}", "a column's name, or Jinja")
    if references not in ("apart", "together"):
        raise unknown("way to take references", references, ("apart", "together"))
    if references == "together" and kind in ("classify", "tag", "choose"):
        raise BadInput(f"references: together, but a row of kind {kind} has one right answer", "leave `references` out")


def _check_numbers(answer: str | None, kind: str, schema: object, tests: str | None) -> None:
    """Raises BadInput for answers that are no numbers, before any data is read."""
    if answer is None:
        return
    if answer != "number":
        raise unknown("way to read an answer", answer, ("number",))
    if kind not in NUMBERED:
        raise BadInput(f"answer: number reads a text that is written, and this task is of kind {kind}", "kind: generate")
    for name, given in {"schema": schema, "tests": tests}.items():
        if given is not None:
            raise BadInput(f"answer: number, and {name} is given: one answer cannot be read both ways", "leave one of them out")


def _numbered(examples: Mapping[str, Sequence[Example]]) -> tuple[dict[str, list[Example]], list[str]]:
    """The examples with each reference as the number that it comes to, and what to say of that."""
    changed: dict[str, str] = {}
    found: dict[str, list[Example]] = {}
    for split, part in examples.items():
        found[split] = []
        for example in part:
            numbers = tuple(as_number(reference, lowest=False) for reference in example.references)
            if "" in numbers:
                said = (
                    f"answer: number, but the answer of row {example.id} holds none: {example.references[numbers.index('')][:80]!r}"
                )
                raise BadInput(said, "leave `answer` out, or name the column that has the numbers as `target`")
            changed |= {old: new for old, new in zip(example.references, numbers, strict=True) if old != new}
            found[split].append(replace(example, references=numbers))
    some = ", ".join(f"{old[:40]!r} as {new}" for old, new in list(changed.items())[:2])
    return found, [f"answers are learned as the numbers that they come to: {some}"] if changed else []


def _all_numerals(examples: Mapping[str, Sequence[Example]]) -> bool:
    return all(is_numeral(reference) for part in examples.values() for example in part for reference in example.references)


def _check_choice(kind: str, options: Any, normalise: str | None, labels: Any) -> None:
    """Raises BadInput for settings of a choice that the task does not make, before any data is read."""
    for name, given in {"options": options, "normalise": normalise}.items():
        if given is not None and kind != "choose":
            raise BadInput(
                f"{name} is of questions whose rows bring their own options, and this task is of kind {kind}", "kind: choose"
            )
        if given is not None and labels is not None:
            raise BadInput(f"`labels` are the options of every row, and {name} is given", "leave one of them out")
    if normalise is not None and normalise not in NORMALISED:
        raise unknown("length to normalise by", normalise, NORMALISED)
    if options is not None and not isinstance(options, str) and (len(options) < 2 or not all(isinstance(o, str) for o in options)):
        raise BadInput(f"options is {list(options)!r}", "the column that lists them, or a list of two or more columns")


def load_splits(data: str | Mapping[str, str]) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """The rows of each split that there is, and where each came from."""
    if isinstance(data, str):
        return {"train": read_rows(data)}, {"train": data}
    if "hub" in data:
        for key in data:
            if key not in ("hub", "subset", "revision"):
                raise unknown("key of hub data", key, ("hub", "subset", "revision"))
        hub, subset, revision = data["hub"], data.get("subset", ""), data.get("revision", "")
        there = hub_splits(hub, subset=subset, revision=revision)
        names = {split: next((n for n in names if n in there), None) for split, names in _HUB_NAMES.items()}
        if names["train"] is None:
            raise BadInput(f"{hub} has no train split, only {', '.join(there)}", "name a data set that has one")
        found = {split: read_rows(hub, subset=subset, revision=revision, split=n) for split, n in names.items() if n}
        return found, {split: f"{hub} ({names[split]})" for split in found}
    for key, place in data.items():
        if key not in SPLITS:
            own = next((f"it is called {split} here" for split, names in _HUB_NAMES.items() if key in names), "")
            raise unknown("split", key, (*SPLITS, "hub"), own)
        if not isinstance(place, str):
            raise BadInput(f"data: {key} is {place!r}, not one file", "put the rows of a split into one file")
    if "train" not in data:
        raise BadInput(
            f"data names {', '.join(data) or 'nothing'}, but no train split",
            "data: {train: FILE, dev: FILE, test: FILE}; dev and test may be left out",
        )
    return {split: read_rows(data[split]) for split in SPLITS if data.get(split)}, {s: data[s] for s in SPLITS if data.get(s)}


def _formats(
    found: Mapping[str, list[Row]], places: Mapping[str, str], kind: str, input: str | None, target: str | Mapping[str, str] | None
) -> dict[str, Format]:
    """Each split's format: the rows' own, with the columns that were named in place of its own; every column is checked."""
    targets = target if isinstance(target, Mapping) else dict.fromkeys(found, target)
    if set(targets) != set(found):
        named, there = (", ".join(split for split in SPLITS if split in each) or "nothing" for each in (targets, found))
        raise BadInput(
            f"target names {named}, and the data has {there}", "give a column for each split that has a file, or one for all"
        )
    target = targets["train"]
    columns = columns_of(found["train"])
    own = recognise(columns, found["train"])
    if input or target:
        base = own or Format("columns", "generate")
        format = replace(
            base, name="columns", input=input or base.input, target=target or base.target, turns="" if input else base.turns
        )
    elif own is not None and (own.target or own.turns):
        format = own
    else:
        shown = ", ".join(columns)[:300]
        raise BadInput(
            f"cannot tell which column of {places['train']} is read and which is learned",
            without_header(found["train"], places["train"]) or f"set `input` and `target`; it has: {shown}",
        )
    if kind == "classify" and format.name == "preference":
        raise BadInput(
            f"{places['train']} holds preferences (chosen, rejected), not labels", "set `input` and `target`, or kind: generate"
        )
    formats = {split: replace(format, target=targets[split] or format.target) for split in found}
    for split, rows in found.items():
        has, format = columns_of(rows), formats[split]
        if not format.target and not format.turns:
            raise BadInput(
                "`input` is set, but not `target`: what is to be learned?", f"{places[split]} has: {', '.join(has)[:300]}"
            )
        if not format.input and not format.turns:
            raise BadInput("`target` is set, but not `input`: what is to be read?", f"{places[split]} has: {', '.join(has)[:300]}")
        for expression in (format.turns or format.input, format.target):
            if expression and not (format.name == "alpaca" and is_template(expression)):
                check_columns(expression, rows, places[split])
    return formats


def _said(format: Format) -> str:
    if format.turns:
        return f"the conversation in `{format.turns}`" + (
            f", answered by `{format.target}`" if format.target else "; its last assistant turn is learned"
        )
    return f"input {format.input!r}, target {format.target!r}"


def _words(examples: Mapping[str, list[Example]], kind: str, labels: Mapping[Any, str] | Sequence[Any] | None) -> Words:
    """The labels of a task that has the same ones for every row."""
    bare = next((e for part in examples.values() for e in part if not e.options), None)
    if kind == "classify" or (kind == "choose" and labels is not None and bare):
        return label_words(examples, labels)
    if labels is not None:
        raise BadInput(
            f"`labels` are set, but the rows of this task (kind {kind}) bring their own answers",
            "leave `labels` out, or say kind: classify",
        )
    if kind == "choose" and bare:
        raise BadInput(
            f"row {bare.id} has no options to choose from",
            "name their column or columns with `options`, or set `labels` for all rows",
        )
    return Words((), {}, ())


def _example(format: Format, row: Row, id: str, kind: str, own_options: Choosing | None, place: str) -> Example | None:
    if kind == "tag":
        return to_tagged(format, row, id, at=partial(line_in, place, int(id.rpartition(":")[2])))
    example = to_example(format, row, id)
    if example is None or (format.name == "kto" and not example.meta["label"]):  # what people rejected is nothing to learn
        return None
    return with_options(example, row, own_options) if own_options else example


def _absent(labels: Sequence[str], test: Sequence[Example], *, kind: str) -> str:
    """The labels that no test row has, "" where there is a row of each or none at all."""
    said = {reference for example in test for reference in example.references}
    if kind in ("multi_label", "tag"):
        said = {own for text in said for own in (words_of(text) if kind == "tag" else labels_of(text, labels))}
    gone = [label for label in labels if label not in said] if test else []
    more = [f"{len(gone) - FEW:,} more"] if len(gone) > FEW else []
    return " or ".join([*gone[:FEW], *more])


def _repeats(examples: Mapping[str, Sequence[Example]], kind: str) -> tuple[int, int]:
    duplicates = sum(len(part) - len({example.source for example in part}) for part in examples.values())
    answers = {(example.source, example.references[0]) for part in examples.values() for example in part}
    texts = Counter(source for source, _ in answers)
    return duplicates, sum(count > 1 for count in texts.values()) if kind in ("classify", "tag") else 0


def prompt_of(
    kind: str,
    words: Sequence[str],
    instruction: str | None,
    system: str,
    template: str | None,
    decoding: Decoding | None,
    seed: int,
    *,
    multi_label: bool = False,
) -> Prompt:
    """The prompt of a task: what was given, and what its kind has for the rest."""
    ranked = kind in ("classify", "choose") and not multi_label
    if instruction is None and multi_label:
        which = f"of these labels fit the text: {', '.join(words)}?" if len(words) <= 20 else "labels fit the text?"
        instruction = f"Which {which} Name all that do, or say {joined((), words)}."
    if instruction is None and kind == "classify":
        instruction = f"Which of these fits the text: {', '.join(words)}?" if len(words) <= 20 else "Which label fits the text?"
    if instruction is None and kind == "tag":
        instruction = f"Give each word its tag, in the words' order, with blanks between the tags: {', '.join(words)}."
    return Prompt(
        template="{{ input }}" if template is None else template,
        instruction=instruction or "",
        system=system,
        decoding=decoding or Decoding(max_new_tokens=LENGTHS[kind], seed=seed),
        ask="score" if ranked else "generate",
        parse="label" if ranked else "labels" if multi_label else "tags" if kind == "tag" else "text",
    )
