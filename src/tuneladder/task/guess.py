"""A first recipe from a look at the data: what `init` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.task.build import METRICS, RECORD_METRIC, SETS_METRIC
from tuneladder.task.formats import Format, check_columns, is_template, listed, recognise, text_of
from tuneladder.task.multi_label import flags_in, hold_lists, look_like_sets, separator_of
from tuneladder.task.options import answered_by, options_in
from tuneladder.task.prefer import KTO, RATED, format_of, is_talk
from tuneladder.task.prefer import METRIC as PREFERENCE
from tuneladder.task.read import Row, columns_of, read_rows
from tuneladder.task.record import record_in
from tuneladder.task.schema import guessed
from tuneladder.task.tagging import metric_of, to_tagged, words_of

# an encoder reads both ways and classifies best for its size; what is written from something that was read suits a seq2seq, which
# reads that both ways too; talk, and what goes on from a text, needs a decoder
ENCODER = ("pocket-encoder", "an encoder reads best for its size")
SEQ2SEQ = ("pocket-seq2seq", "a seq2seq reads all of a text before it writes")
BASES = {"classify": ENCODER, "tag": ENCODER, "generate": SEQ2SEQ, "extract": SEQ2SEQ}
BASE = ("pocket-decoder", "a decoder goes on from what it reads")
LOOK = 5_000  # rows that are looked at
READINGS = 4
_LABELS = ("label", "labels", "class", "category", "target", "intent", "sentiment", "topic", "type", "tag", "answer", "y")
_SETS = ("labels", "label", "tags", "categories", "topics", "genres", "emotions", "category", "classes", "keywords")
_ASKED = ("input", "question", "prompt", "query", "source", "text", "document", "article", "dialogue", "instruction")
_RIGHT = ("answer", "answerkey", "answer_key", "label", "gold", "correct", "correct_answer", "cop", "target", "answer_idx")
_CHOSEN_FOR = ("question", "question_stem", "ctx", "context", "goal", "premise", "sentence", "stem", "q", "query", "input", "text")
_LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "ru": "Russian",
    "uk": "Ukrainian",
    "pl": "Polish",
    "cs": "Czech",
    "ro": "Romanian",
    "sv": "Swedish",
    "fi": "Finnish",
    "ja": "Japanese",
    "zh": "Chinese",
    "ko": "Korean",
    "ar": "Arabic",
    "hi": "Hindi",
    "tr": "Turkish",
    "vi": "Vietnamese",
}
_LANGUAGES |= {name.casefold(): name for name in _LANGUAGES.values()}
_PASSAGES = ("context", "passage", "article", "story")
_ANSWERED = ("output", "answer", "response", "completion", "target", "reference", "ref", "summary", "translation", "reply")


@dataclass(frozen=True)
class _Column:
    """What a column holds: filled cells, how often each value stands there, mean words and characters, the longest cell."""

    name: str
    filled: int
    counts: Mapping[str, int]
    words: float
    length: float
    longest: int
    numbers: bool

    @property
    def label(self) -> bool:
        return 2 <= len(self.counts) <= max(2, min(150, self.filled // 4)) and self.longest <= 80

    @property
    def text(self) -> bool:
        return not self.numbers and not self.label and (self.words >= 1.5 or self.longest > 60) and self.filled > 0


def guess(
    path: str, *, input: str | None = None, target: str | None = None, kind: str | None = None
) -> tuple[dict[str, Any], list[str]]:
    """A recipe for the file as a dict that YAML can hold, and sentences that explain it.

    What is given is kept; the rest is guessed from the columns' names and values. Raises BadInput where there is nothing to
    guess from, naming what to set.
    """
    if kind is not None and kind not in (*METRICS, "prefer", "text"):
        raise unknown("kind of task", kind, (*METRICS, "prefer", "text"))
    rows = read_rows(path)
    columns = columns_of(rows)
    for expression in (input, target):
        if expression is not None:
            check_columns(expression, rows, path)
    why = [f"{len(rows):,} rows with the columns {', '.join(columns)[:300]}"]
    format = recognise(columns, rows)
    seen = {column: _look(column, rows[:LOOK]) for column in columns}
    if kind == "text" or (kind is None and format is not None and format.name == "text"):
        column = input or ("text" if "text" in columns else max(seen.values(), key=lambda c: c.length).name)
        named = [each for each in columns if each == column or (is_template(column) and each in column)]
        characters = sum(len(text_of(row.get(each))) for row in rows for each in named)
        return _text(path, column, characters=characters, why=why), why
    if kind is None and format is None and target is None and {"chosen", "rejected"} <= set(columns):
        if not is_talk(next((row["chosen"] for row in rows if row.get("chosen")), "")):
            raise BadInput(f"{path} holds preferences without their prompt", "put what was asked into a column `prompt`")
        kind = "prefer"
        why.append("`chosen` and `rejected` hold whole conversations, of which one was preferred")
    if kind == "prefer":
        return _preferred(path, format_of(columns, rows, path).name, why), why
    task: dict[str, Any] = {"kind": kind, "data": path}
    length = 0.0
    choice = _choice(rows[:LOOK], seen, input, target, why) if kind in (None, "choose") else None
    records = (
        _records(rows[:LOOK], seen, input, target, kind, why)
        if not choice and kind in (None, "extract") and format is None
        else None
    )
    languages = (
        _languages(rows[:LOOK], seen, why) if not (choice or records or input or target) and kind in (None, "generate") else None
    )
    if found := choice or records or languages:
        task |= found
        length = _length(seen, found["input"])
    elif format is not None and format.name != "text/label" and format.name != "text" and not input and not target:
        task["kind"] = kind or format.kind
        why.append(f"recognised as {format.name} by its columns, so `input` and `target` can be left out")
        if format.name != KTO and (said := seen.get("label")) and 2 <= len(said.counts) <= 3:
            values = " and ".join(map(repr, said.counts))
            why.append(f"`label` ({values}) is not learned: where it says whether people wanted the answer, make it true and false")
        if format.name == "preference":
            why.append("of each pair the chosen answer is learned; --kind prefer learns which of the two is better")
        length = seen[format.turns or (format.input if format.kind == "tag" else columns[0])].length
    elif (
        format is not None
        and format.kind == "tag"
        and kind in (None, "tag")
        and input in (None, format.input)
        and _tags(rows, format, target)
    ):
        format = replace(format, target=target or format.target)
        task |= {"kind": "tag", "input": format.input, "target": format.target}
        why.append(f"`{format.target}` has a tag for each word of `{format.input}`")
        length = seen[format.input].length
    elif kind in (None, "classify") and (sets := _sets(rows[:LOOK], seen, input, target)):
        input = input or _input({name: seen[name] for name in seen if name not in sets}, "", why, label=True)
        if input is None:
            raise _unread(path, columns)
        task |= {"kind": "classify", "input": input, "target": sets[0] if len(sets) == 1 else sets, "multi_label": True}
        why += _said_of_sets(task, rows[:LOOK])
        length = _length(seen, input)
    else:
        target = target or _target(seen, kind, input, why)
        if target is None:
            raise BadInput(
                f"nothing in {path} looks like an answer to learn",
                f"name it with --target (columns: {', '.join(columns)[:200]}), or say --kind text to learn from the text alone",
            )
        input = input or _input(seen, target, why, label=target in seen and seen[target].label)
        if input is None:
            raise _unread(path, columns)
        label = target in seen and seen[target].label
        task |= {"kind": kind or ("classify" if label else "generate"), "input": input, "target": target}
        length = _length(seen, input)
        if task["kind"] == "classify" and target in seen:
            why += _values(seen[target])
    if languages:
        task |= {"metric": "chrf", "also": ["bleu"]}
    elif records:
        task["metric"] = RECORD_METRIC
    else:
        task["metric"] = _tags_metric(format, rows) if format and task["kind"] == format.kind == "tag" else METRICS[task["kind"]]
    if "multi_label" in task:
        task["metric"] = SETS_METRIC
    base, because = BASES.get(task["kind"], BASE)
    why.append(f"the base is {base}: {because}")
    shots = 8 if length < 200 else 4 if length < 500 else 2
    asked: dict[str, list[Any]] = {"classify": ["linear_probe"], "tag": []}
    headless = task["kind"] == "tag" or "multi_label" in task  # of which the encoder that is taken knows nothing before it learns
    few = {"few_shot": {"shots": min(shots, max(1, len(rows) // 4))}}
    bar = {task["metric"]: 0.8} if task["kind"] in ("classify", "tag", "choose", "extract") else {}
    if bar:
        why.append(f"the bar of 0.8 {task['metric']} is a placeholder: set what your task needs")
    return {
        "task": task,
        "base": base,
        "bar": {**bar, "forgetting": 0.1},
        "limit": {"minutes": 60},
        "rungs": [*([] if headless else ["zero_shot"]), *asked.get(task["kind"], [few]), {"lora": {"r": 8}}, "full"],
    }, why


def _choice(
    rows: Sequence[Row], seen: Mapping[str, _Column], input: str | None, target: str | None, why: list[str]
) -> dict[str, Any] | None:
    """What is read and learned of rows that bring their own options; None where no columns say that these do."""
    columns = options_in(tuple(seen), rows)
    free = [column for column in seen.values() if column.name not in columns and column.name != input]
    free.sort(key=lambda column: _RIGHT.index(column.name.casefold()) if column.name.casefold() in _RIGHT else len(_RIGHT))
    named = [target] if target else [column.name for column in free if column.filled]
    right = next((name for name in named if columns and name in seen and answered_by(name, rows, columns)), None)
    if right is None:
        return None
    texts = [column for column in free if column.name != right and not column.numbers and column.filled]
    asked = _named(texts, _CHOSEN_FOR) or max(texts, key=lambda column: column.length, default=None)
    if input is None and asked is not None:
        passage = _named([column for column in texts if column is not asked], _PASSAGES)
        input = f"{{{{ {passage.name} }}}}\n{{{{ {asked.name} }}}}" if passage and asked.name.isidentifier() else asked.name
    if input is None:
        return None
    why.append(
        f"`{right}` says which of {', '.join(f'`{column}`' for column in columns)} is right, after `{input}`".replace("\n", " ")
    )
    return {"kind": "choose", "input": input, "target": right, "options": columns[0] if len(columns) == 1 else list(columns)}


def _records(
    rows: Sequence[Row], seen: Mapping[str, _Column], input: str | None, target: str | None, kind: str | None, why: list[str]
) -> dict[str, Any] | None:
    """What is read and learned where a column holds objects; None where none does."""
    looked = [name for name in seen if name != input] if target is None else [target] if target in seen else []
    cells: dict[str, list[Any]] = {name: [row[name] for row in rows if row.get(name) not in (None, "")] for name in looked}
    found = {name: [record_in(cell) for cell in own] for name, own in cells.items()}
    names = [name for name, own in found.items() if own and all(own)]
    if not names:
        return None
    best = next((name for name in names if name.casefold() in _ANSWERED), names[-1])
    rest = {name: column for name, column in seen.items() if name not in names}
    input = input or _input(rest, best, why, label=False)
    if input is None:
        return None
    fields = guessed([record for record in found[best] if record])["properties"]
    if kind is None and any(str(name) in _LANGUAGES for name in fields):
        return None  # one text in several languages
    why.append(f"learned: `{best}`, objects of {', '.join(fields)}; to hold answers to a schema of your own, name it with schema:")
    return {"kind": "extract", "input": input, "target": best}


def _languages(rows: Sequence[Row], seen: Mapping[str, _Column], why: list[str]) -> dict[str, Any] | None:
    """A translation, where two columns are called as languages are, or one holds texts by language."""
    pair = [(name, _LANGUAGES[name.casefold()]) for name in seen if name.casefold() in _LANGUAGES]
    places = [name for name, _ in pair]
    if len(pair) != 2:
        held = record_in(rows[0].get("translation")) or {}
        pair = [(name, _LANGUAGES[name]) for name in held if name in _LANGUAGES]
        places = [f"{{{{ translation.{name} }}}}" for name, _ in pair]
    if len(pair) != 2:
        return None
    (_, one), (_, other) = pair
    why.append(f"a translation from {one} into {other}: chrF decides, which takes short texts too, and BLEU stands beside it")
    return {"kind": "generate", "input": places[0], "target": places[1], "instruction": f"Translate from {one} into {other}."}


def _length(seen: Mapping[str, _Column], input: str) -> float:
    """Characters of what is read, in the mean: of a column, or of all that a template names."""
    return sum(column.length for column in seen.values() if column.name == input or (is_template(input) and column.name in input))


def _unread(path: str, columns: Sequence[str]) -> BadInput:
    return BadInput(
        f"nothing in {path} looks like a text to read", f"name a column with --input (columns: {', '.join(columns)[:200]})"
    )


def _sets(rows: Sequence[Row], seen: Mapping[str, _Column], input: str | None, target: str | None) -> list[str]:
    """The column whose cells are sets of labels: the one that was named, if it holds such, else the first that does, those that are
    called like one before others. Or columns that say yes or no, each of a label. None where a column has one label a row."""
    free = [name for name in seen if name != input and not (input and is_template(input) and name in input)]
    looked = free if target is None else [target] if target in seen else []
    cells = {name: [row.get(name) for row in rows] for name in looked}
    found = [name for name, own in cells.items() if look_like_sets(own)]
    single = _named([seen[name] for name in free if seen[name].label and name not in found], _LABELS)
    best = min(found, key=lambda name: _SETS.index(name.casefold()) if name.casefold() in _SETS else len(_SETS), default="")
    if best and (target is not None or single is None or best.casefold() in _SETS[:2]):
        return [best]
    if target is not None or single is not None:
        return []
    flags = flags_in(free, rows)
    return flags if len(flags) >= 3 else []


def _said_of_sets(task: dict[str, Any], rows: Sequence[Row]) -> list[str]:
    """How the sets of labels stand there; what parts them is put into the task."""
    target = task["target"]
    if isinstance(target, list):
        return [f"learned: {', '.join(f'`{name}`' for name in target)}, each a label that a row has or has not"]
    cells = [row.get(target) for row in rows]
    if hold_lists([cell for cell in cells if cell != ""]):
        return [f"learned: `{target}`, which lists a row's labels"]
    task["separator"] = separator_of(cells)
    return [f"learned: `{target}`, several labels with {task['separator']!r} between them"]


def _tags(rows: Sequence[Row], format: Format, target: str | None) -> bool:
    """Whether most rows have a tag for each word in this column."""
    pairs = [(listed(row.get(format.input)), listed(row.get(target or format.target))) for row in rows[:LOOK]]
    return 2 * sum(len(words) == len(tags) > 0 for words, tags in pairs) > len(pairs)


def _tags_metric(format: Format, rows: Sequence[Row]) -> str:
    """What the tags of the first rows are measured by."""
    made = [to_tagged(format, row, str(number)) for number, row in enumerate(rows[:LOOK], 1)]
    return metric_of(sorted({tag for example in made if example for tag in words_of(example.references[0])}))


def _look(column: str, rows: Sequence[Row]) -> _Column:
    cells = [text for row in rows if (text := text_of(row.get(column)).strip())]
    number = sum(cell.replace(".", "", 1).lstrip("-").isdecimal() for cell in cells)
    return _Column(
        name=column,
        filled=len(cells),
        counts=Counter(cells),
        words=sum(len(cell.split()) for cell in cells) / max(len(cells), 1),
        length=sum(map(len, cells)) / max(len(cells), 1),
        longest=max(map(len, cells), default=0),
        numbers=0 < number == len(cells),
    )


def _target(seen: Mapping[str, _Column], kind: str | None, input: str | None, why: list[str]) -> str | None:
    """A column of few values that is named like a label; else a text named like an answer; else the last column of few values;
    else the last text."""
    free = [
        column for column in seen.values() if column.name != input and not (input and is_template(input) and column.name in input)
    ]
    labels = [column for column in free if column.label] if kind in (None, "classify", "choose") else []
    texts = [column for column in free if column.text] if kind not in ("classify", "choose") else []
    if len(texts) < (1 if input else 2):
        texts = []  # one text is what is read
    best = _named(labels, _LABELS) or _named(texts, _ANSWERED) or next(iter([*labels[::-1], *texts[::-1]]), None)
    if best is None:
        return None
    several = f"{len(best.counts):,} different values"
    why.append(f"learned: `{best.name}`, " + (f"which has {several}" if best in labels else f"a text ({several})"))
    if others := [f"`{column.name}`" for column in labels if column is not best]:
        why.append(f"{', '.join(others[:5])} could be learned as well: say so with --target")
    return best.name


def _input(seen: Mapping[str, _Column], target: str, why: list[str], *, label: bool) -> str | None:
    """The text column, or a template of all of them where it is a label that may depend on several."""
    free = [column for column in seen.values() if column.name != target and not (is_template(target) and column.name in target)]
    texts = [column for column in free if column.text] or [column for column in free if not column.numbers and not column.label]
    if not texts:
        return None
    best = (None if label else _named(texts, _ASKED)) or max(texts, key=lambda column: column.length)
    telling = [column.name for column in texts if column.words >= 3]
    if label and len(telling) > 1 and all(name.isidentifier() for name in telling):
        why.append(f"read: {', '.join(f'`{name}`' for name in telling)}, every column of text")
        between = "\n\n" if len(telling) == 2 else "\n"  # a blank line parts the texts of a pair
        return between.join(f"{{{{ {name} }}}}" for name in telling)
    why.append(f"read: `{best.name}`, {best.words:.0f} words in the mean")
    return best.name


def _named(columns: Sequence[_Column], names: Sequence[str]) -> _Column | None:
    ranked = [(names.index(column.name.casefold()), column) for column in columns if column.name.casefold() in names]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _values(column: _Column) -> list[str]:
    common = Counter(column.counts).most_common(10)
    said = [f"its values: {', '.join(f'{value} ({count})' for value, count in common)}{', ...' if len(column.counts) > 10 else ''}"]
    if column.numbers:
        words = ", ".join(f"{value}: a word" for value in sorted(column.counts)[:3])
        said.append(f"its values are numbers, which tell a model little: give each a word with labels: {{{words}, ...}}")
    return said


def _text(path: str, column: str, *, characters: int, why: list[str]) -> dict[str, Any]:
    """The base goes on reading: some four times, a token being four characters or so, but at least 50,000 tokens and at most what
    a coffee break allows."""
    tokens = min(max(READINGS * characters // 4, 50_000), 5_000_000)
    why.append(f"the base is {BASE[0]}, and reads {tokens:,} tokens: the text {4 * tokens / max(characters, 1):.1f} times")
    return {
        "task": {"kind": "text", "data": [{"data": path, "text": column}], "metric": "bits_per_byte"},
        "base": BASE[0],
        "limit": {"minutes": 60},
        "rungs": ["zero_shot", {"pretrain": {"tokens": tokens, "learning_rate": 5e-4}}],
    }


def _preferred(path: str, format: str, why: list[str]) -> dict[str, Any]:
    """What learns from comparisons, before and after what learns from the better answers alone; of scored answers a reward."""
    rungs: list[Any] = ["zero_shot", "lora", "dpo", ["lora", "dpo"]]
    if format == KTO:
        rungs = ["zero_shot", "lora", "kto", ["lora", "kto"]]
        why.append("answers were judged one by one, wanted or not: kto learns from them")
    elif format == RATED:
        rungs = ["zero_shot", {"reward": {"loss": "scores"}}]
        why.append("answers have scores: a reward learns them")
    why.append(f"the base is {BASE[0]}: it says how likely it finds an answer")
    return {
        "task": {"kind": "prefer", "data": path, "metric": PREFERENCE},
        "base": BASE[0],
        "bar": {"forgetting": 0.1},
        "limit": {"minutes": 60},
        "rungs": rungs,
    }
