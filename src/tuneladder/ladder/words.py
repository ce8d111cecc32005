"""Numbers as people read them: one way to write a duration, a size, a share and a score, on the page and in the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.verdicts import Judge
from tuneladder.types import Cost, Judged, Rung, Score, WithPeople

UNMEASURED = "agreement with people not measured"

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "matthews": "Matthews",
    "hamming_loss": "Hamming loss",
    "span_f1": "span F1",
    "tag_accuracy": "tag accuracy",
    "exact_match": "exact match",
    "entity_f1": "entity F1",
    "parse_rate": "parse rate",
    "cut_rate": "cut off",
    "pass_at_k": "pass@k",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "rouge_lsum": "ROUGE-Lsum",
    "bleu": "BLEU",
    "chrf": "chrF",
    "bert_score": "BERTScore",
    "nist": "NIST",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "pearson": "Pearson",
    "bits_per_byte": "bits per byte",
    "ungrounded": "ungrounded answers",
    "length_bias": "correlation with length",
    "chosen_log_probability": "log-probability of the chosen",
    "score_correlation": "correlation with people's scores",
    "score_error": "square error of scores",
    "score_slope": "slope of scores over rewards",
}
BASELINES = {
    "majority": "the majority class",
    "tfidf": "TF-IDF with logistic regression",
    "frequent_set": "the most frequent set of labels",
    "frequent_tag": "the most frequent tag of each word",
    "frequent_values": "each field's most frequent value",
    "longest": "the longest option",
    "frequent_place": "the option where the right one mostly stands",
    "ngram": "an order-5 n-gram",
    "lead": "the input's first sentence",
    "copy": "the input itself",
}
NONE = "–"


def metric_name(name: str) -> str:
    """As people write it, with its settings, and in brackets the set or source that it is of; a user's `my_module:fn` is called by
    its function."""
    bare, brace, rest = name.partition(" {")
    if bare == "judge":
        return judge_name(name)
    if brace:
        settings, _, part = rest.rpartition("}")
        return f"{metric_name(bare)} ({settings})" + (f" {part}" if part else "")
    metric, _, part = name.partition("[")
    said = METRICS.get(metric, metric.rpartition(":")[2].replace("_", " "))
    return f"{said} [{part}" if part else said


def judge_name(name: str, *, short: bool = False) -> str:
    """Whose verdicts a figure is made of and, unless `short`, that they were not set beside those of people where they were not."""
    rules = find_metric(name).judge
    assert rules
    named = rules.by if isinstance(rules.by, str) else str(rules.by.get("model") or rules.by.get("id") or "a judge")
    who = named.rstrip("/").rpartition("/")[2]  # of a folder or a hub id
    said = f"wins over {rules.against}, judged by {who}" if rules.against else f"mark by {who}"
    if rules.reasons:
        said += ", reasons read"
    if rules.rubric != Judge.rubric:
        said += f" for {clip(rules.rubric, 40)!r}"
    return said if short or rules.people else f"{said} ({UNMEASURED})"


def unmeasured(name: str) -> bool:
    """Whether a metric is a judge's that nobody has set beside people."""
    rules = find_metric(name).judge if name.startswith("judge {") else None
    return rules is not None and not rules.people


def verdicts(found: Judged, variant: str) -> list[str]:
    """What a judge made of a variant's answers, in sentences."""
    counts, read = Counter(verdict.outcome for verdict in found.verdicts), [each for each in found.verdicts if each.outcome]
    asked, lost = f"{count(len(read), 'answer')}, {found.score.interval}", len(found.verdicts) - len(read)
    if not found.against:
        lines = [f"{variant}, mark by {found.judge} (0 the lowest, 1 the highest): {scored(found.score)}, {asked}"]
    else:
        lines = [f"{variant} against {found.against}, share of wins by {found.judge}: {scored(found.score)}, {asked}"]
        lines.append(f"won {counts['win']:,}, lost {counts['loss']:,}, tied {counts['tie']:,}")
    if found.flips and found.bias:
        lines.append(f"{_flipped(found.flips)}: these are ties; bias toward the answer shown first {scored(found.bias)}")
    if lost:
        lines.append(f"no verdict could be read of {count(lost, 'answer')}: they count nowhere")
    if found.cut:
        lines.append(f"{count(found.cut, 'prompt')} were longer than the judge's context, and were cut")
    return lines


def agreement(found: WithPeople | None) -> str:
    """How often a judge agrees with people, or that nobody knows."""
    if found is None:
        return f"{UNMEASURED}: nobody knows what these verdicts are worth"
    among = f"one person with the others {scored(found.people)}, " if found.people else ""
    lost = f"; {count(found.unread, 'pair')} without a verdict" if found.unread else ""
    blind = f"; of {count(found.blind, 'pair')} it saw the answers alone, for nothing says what was asked" if found.blind else ""
    flips = f"; {_flipped(found.flips)}, which are ties" if found.flips else ""
    return (
        f"agreement with people {scored(found.judge)} on {count(found.judge.count, 'pair')} of {found.source}; {among}"
        f"the longer answer {figure(found.longer)}{flips}{lost}{blind}"
    )


def _flipped(flips: Score) -> str:
    return f"the verdict changed with the order in {percent(flips.value)} of pairs ({percent(flips.low)} to {percent(flips.high)})"


def cost(found: Cost) -> str:
    """What asking cost, as far as it cost anything."""
    parts = [duration(found.seconds)] if found.seconds else []
    parts += [count(round(found.tokens), "token")] if found.tokens else []
    parts += [f"{money(found.money)} of money"] if found.money else []
    return f"asking took {', '.join(parts)}" if parts else ""


def baseline_name(name: str) -> str:
    return BASELINES.get(name, name.replace("_", " "))


def without(kind: str) -> str:
    """What the baselines of this kind of task do without; an n-gram is a language model of a sort."""
    return "neural network" if kind == "text" else "language model"


def short_baseline(name: str) -> str:
    return {"majority": "majority", "tfidf": "TF-IDF", "frequent_tag": "frequent tag", "ngram": "n-gram"}.get(
        name, name.replace("_", " ")
    )


def duration(seconds: float | None) -> str:
    """`0.4 ms`, `12 ms`, `2.4 s`, `47 s`, `2 min 24 s`, `3 h 12 min`, `2.4 days`."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.{0 if seconds >= 0.00995 else 1 if seconds >= 0.0001 else 3}f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{seconds / 86400:.1f} days"


def size(count: float | None) -> str:
    """Bytes in decimal units: `820 kB`, `1.2 MB`, `3.4 GB`."""
    if count is None:
        return NONE
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.{0 if abs(value) >= 99.5 or unit == 'B' else 1}f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def energy(joules: float | None) -> str:
    """`12 mJ`, `3.4 J`, `47 kJ`, `1.2 MJ`."""
    return _prefixed(joules, "J", (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3)))


def mass(grams: float | None) -> str:
    """`40 µg`, `3.4 mg`, `12 g`, `1.2 kg`."""
    return _prefixed(grams, "g", (("k", 1e3), ("", 1.0), ("m", 1e-3), ("µ", 1e-6)))


def _prefixed(value: float | None, unit: str, scales: Sequence[tuple[str, float]]) -> str:
    if not value:
        return NONE if value is None else f"0 {unit}"
    prefix, one = next((scale for scale in scales if value >= 0.9995 * scale[1]), scales[-1])
    return f"{value / one:.{0 if value >= 9.95 * one else 1}f} {prefix}{unit}"


def amount(count: float) -> str:
    """Parameters or tokens in three figures: `8.65 M`, `262 M`, `6.36 B`, `1.33 T`."""
    for unit, one in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * one:
            value = count / one
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{count:.0f}"


def percent(share: float | None) -> str:
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:z.1f} %".replace("-", "−")


def limit(share: float) -> str:
    """A share as it was asked for: `5 %`."""
    return f"{100 * share:g} %"


def figure(value: float | None) -> str:
    """A metric's value: three decimals, one where it is counted to a hundred."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{3 if abs(value) < 10 else 1}f}".replace("-", "−")


def money(amount: float) -> str:
    """In the currency of the recipe's prices, which has no name here: `11.00`, `0.00003`."""
    if amount >= 1 or amount == 0:
        return f"{amount:,.2f}"
    return f"{amount:.{1 - math.floor(math.log10(amount))}f}".rstrip("0").rstrip(".")


def span(score: Score) -> str:
    """The interval: `0.893 to 0.929`."""
    return f"{figure(score.low)} to {figure(score.high)}"


def scored(score: Score) -> str:
    """`0.912 (0.893 to 0.929)`."""
    return f"{figure(score.value)} ({span(score)})"


def count(number: int, one: str, many: str = "") -> str:
    """`1 rung`, `1,204 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def plausible(p: float) -> str:
    """A p-value: `p = 0.031`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def times(ratio: float) -> str:
    """How many times as much: `1.1 times`, `12 times`."""
    return f"{ratio:.3g} times" if ratio < 100 else f"{ratio:,.0f} times"


def under_bases(rungs: Iterable[Rung], *, long: bool) -> Iterator[tuple[str, str]]:
    """How each rung is called in a table, and the base that is to stand in a line before it, or "": where names are too `long` for
    their column, the rungs of a base stand under it."""
    before = ""
    for rung in rungs:
        own = rung.name.removeprefix(f"{rung.base}/")
        parted = long and own != rung.name
        yield (f"  {own}", "" if rung.base == before else rung.base) if parted else (rung.name, "")
        before = rung.base


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, whitespace folded."""
    folded = " ".join(text[: limit * 4].split())
    return folded if len(folded) <= limit else folded[: limit - 1].rstrip() + "…"
