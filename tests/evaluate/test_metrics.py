"""Every metric against the library it is known from."""

from __future__ import annotations

import random

import numpy as np
import pytest
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, matthews_corrcoef

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric, metrics_of, names
from tuneladder.evaluate.measure import rate
from tuneladder.evaluate.rouge import longest_common
from tuneladder.evaluate.suite import f1_of
from tuneladder.task.multi_label import joined

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "house,",
    "quickly.",
    "slowly",
    "and",
    "naïve",
    "über",
    "12",
    "Zürich's",
]


def said(seed: int, rows: int = 300, labels: int = 5) -> tuple[list[str], list[str], list[str]]:
    draw = random.Random(seed)
    known = [f"label {k}" for k in range(labels)]
    truth = [draw.choice(known[:-1]) for _ in range(rows)]
    return known, truth, [true if draw.random() < 0.6 else draw.choice(known) for true in truth]


def sentences(seed: int, rows: int = 40, longest: int = 14) -> tuple[list[str], list[list[str]]]:
    draw = random.Random(seed)
    references = [
        [" ".join(draw.choices(WORDS, k=draw.randint(1, longest))) for _ in range(draw.randint(1, 3))] for _ in range(rows)
    ]
    answers = []
    for row in references:
        words = [word if draw.random() < 0.7 else draw.choice(WORDS) for word in row[0].split()]
        answers.append(" ".join(words[: draw.randint(0, len(words))] + draw.choices(WORDS, k=draw.randint(0, 2))))
    return answers, references


@pytest.mark.parametrize("seed", range(5))
def test_label_metrics_are_scikit_learns(seed: int) -> None:
    labels, truth, answers = said(seed)
    rows = [[true] for true in truth]
    assert find_metric("accuracy").score(answers, rows, labels) == pytest.approx(accuracy_score(truth, answers))
    assert find_metric("macro_f1").score(answers, rows, labels) == pytest.approx(f1_score(truth, answers, average="macro"))
    assert find_metric("micro_f1").score(answers, rows, labels) == pytest.approx(f1_score(truth, answers, average="micro"))
    assert find_metric("matthews").score(answers, rows, labels) == pytest.approx(matthews_corrcoef(truth, answers))


def test_an_answer_outside_the_labels_is_wrong_and_no_label_of_its_own() -> None:
    labels, truth, answers = said(9)
    answers = ["" if k % 7 == 0 else answer for k, answer in enumerate(answers)]
    rows = [[true] for true in truth]
    macro = f1_score(truth, answers, labels=labels, average="macro")
    micro = f1_score(truth, answers, labels=labels, average="micro")
    assert find_metric("macro_f1").score(answers, rows, labels) == pytest.approx(macro)
    assert find_metric("micro_f1").score(answers, rows, labels) == pytest.approx(micro)
    assert find_metric("matthews").score(answers, rows, labels) == pytest.approx(matthews_corrcoef(truth, answers))
    assert find_metric("accuracy").score(answers, rows, labels) == pytest.approx(accuracy_score(truth, answers))
    nothing = [""] * len(truth)
    for name in ("accuracy", "macro_f1", "micro_f1", "matthews"):
        assert find_metric(name).score(nothing, rows, labels) == 0


def test_label_metrics_need_labels_and_know_a_strange_reference() -> None:
    with pytest.raises(BadInput, match="the task has none"):
        find_metric("macro_f1").score(["a"], [["a"]], ())
    with pytest.raises(BadInput, match="'c' is not one of the labels"):
        find_metric("macro_f1").score(["a"], [["c"]], ("a", "b"))


def test_any_of_several_references_is_right() -> None:
    rows = [["a", "b"], ["b"], ["a"]]
    assert find_metric("accuracy").score(["b", "b", "b"], rows) == pytest.approx(2 / 3)
    assert find_metric("macro_f1").score(["b", "b", "b"], rows, ("a", "b")) == pytest.approx(
        f1_score(["b", "b", "a"], ["b"] * 3, average="macro")
    )


def test_exact_match_ignores_white_space_and_composition_only() -> None:
    exact = find_metric("exact_match")
    assert exact.score(["  New\nYork ", "Zu\u0308rich", "paris"], [["New York"], ["Zürich"], ["Paris"]]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "kind"), [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL"), ("rouge_lsum", "rougeLsum")]
)
def test_rouge_is_rouge_scores(name: str, kind: str) -> None:
    answers, references = sentences(3, rows=200, longest=90)
    answers[1], references[1] = "...", ["???"]
    answers[0], references[0] = "the cat sat\non the mat", ["the cat ran\nunder the mat\nslowly"]
    scorer = rouge_scorer.RougeScorer([kind])
    want = np.mean(
        [
            max(scorer.score(reference, answer)[kind].fmeasure for reference in row)
            for answer, row in zip(answers, references, strict=True)
        ]
    )
    assert find_metric(name).score(answers, references) == pytest.approx(want)


def f_measure(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision)


def test_the_lectures_rouge() -> None:
    said, true = ["It is very cold outside."], [["It is cold outside."]]
    assert find_metric("rouge_1").score(said, true) == pytest.approx(f_measure(4 / 4, 4 / 5)) == pytest.approx(0.89, abs=5e-3)
    assert find_metric("rouge_2").score(said, true) == pytest.approx(f_measure(2 / 3, 2 / 4)) == pytest.approx(0.57, abs=5e-3)
    # the lecture counts words in a row, `cold outside`, and has a recall of 2/4; a subsequence may have gaps, and is all four
    assert longest_common(["it", "is", "very", "cold", "outside"], ["it", "is", "cold", "outside"]) == 4
    assert find_metric("rouge_l").score(said, true) == pytest.approx(f_measure(4 / 4, 4 / 5))


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("I am very happy that I am drinking a cup of tea", 0.495),
        ("I am very happy that I am drinking a warm cup of tea", 0.730),
        ("I am very happy to say that I am drinking a warm tea", 0.798),
        ("I am very happy to say that I am drinking a warm cup of tea", 1.000),
    ],
)
def test_the_lectures_bleu(answer: str, value: float) -> None:
    # words between blanks, the geometric mean of four orders, no smoothing: what ours is where the full stop, which it would part,
    # is left out, and every order has a match
    true = "I am very happy to say that I am drinking a warm cup of tea"
    assert find_metric("bleu").score([answer], [[true]]) / 100 == pytest.approx(value, abs=5e-4)
    plain = BLEU(tokenize="none", smooth_method="none")
    assert plain.corpus_score([f"{answer}."], [[f"{true}."]]).score / 100 == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(("seed", "longest"), [(0, 14), (1, 14), (2, 3), (3, 5)])
def test_bleu_and_chrf_are_sacrebleus(seed: int, longest: int) -> None:
    answers, references = sentences(seed, longest=longest)
    width = max(map(len, references))
    columns = [[row[k] if k < len(row) else None for row in references] for k in range(width)]
    assert find_metric("bleu").score(answers, references) == pytest.approx(BLEU().corpus_score(answers, columns).score)
    assert find_metric("chrf").score(answers, references) == pytest.approx(CHRF().corpus_score(answers, columns).score)


def test_bleu_smooths_absent_orders_as_sacrebleu() -> None:
    answers, references = ["the cat on mat house", "dog the ran a sat"], ["cat the mat on slowly", "ran dog sat the a"]
    assert find_metric("bleu").score(answers, [[row] for row in references]) == pytest.approx(
        BLEU().corpus_score(answers, [references]).score
    )
    assert find_metric("bleu").score(["x y z w v"], [["a b c d e"]]) == 0
    assert find_metric("chrf").score(["", ""], [["a"], ["b"]]) == 0


def test_pearson_is_scipys_and_reads_no_number_as_no_news() -> None:
    draw = np.random.default_rng(0)
    y = draw.normal(size=100) + 1e6
    x = 3 * y + draw.normal(size=100)
    rows = [[str(value)] for value in y]
    pearson = find_metric("pearson")
    assert pearson.score([str(value) for value in x], rows) == pytest.approx(pearsonr(x, y).statistic, abs=1e-9)
    read = np.where(np.arange(100) < 10, x[10:].mean(), x)
    assert pearson.score(["none"] * 10 + [str(v) for v in x[10:]], rows) == pytest.approx(pearsonr(read, y).statistic, abs=1e-9)
    assert pearson.score(["1"] * 100, rows) == 0
    assert pearson.score(["10", "20", "x"], [["1"], ["2"], ["3"]]) == pytest.approx(0.5)  # 15 stands in for x
    assert pearson.score(["none"] * 100, rows) == 0
    with pytest.raises(BadInput, match="a reference is 'many'"):
        pearson.score(["1"], [["many"]])


def test_spearman_is_scipys_and_equals_share_their_rank() -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 6, size=100)
    x = np.round(np.exp(y + draw.normal(size=100)), 1)
    rows = [[str(value)] for value in y]
    spearman = find_metric("spearman")
    assert spearman.score([str(value) for value in x], rows) == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
    assert spearman.score(["none"] * 100, rows) == 0
    with pytest.raises(BadInput, match=r"spearman needs numbers, and a reference is .many."):
        spearman.score(["1"], [["many"]])


def test_squads_marks_leave_capitals_punctuation_and_articles_out() -> None:
    exact, f1 = find_metric("squad_exact"), find_metric("squad_f1")
    references = [["the Denver Broncos", "Broncos"]]
    assert exact.score(["Denver Broncos!"], references) == 1
    assert exact.score(["A Denver Bronco"], references) == 0
    assert f1.score(["denver won"], references) == pytest.approx(0.5)
    assert f1.score(["The broncos won"], references) == pytest.approx(2 / 3)
    assert f1.score([""], references) == 0
    assert f1.score(["the"], [["a"]]) == 1


def test_f1_of_one_answer_is_scikit_learns() -> None:
    labels, truth, answers = said(0)
    want = f1_score([true == labels[1] for true in truth], [answer == labels[1] for answer in answers])
    assert f1_of(labels[1]).score(answers, [[true] for true in truth], labels) == pytest.approx(want)
    assert f1_of("else").score(answers, [[true] for true in truth], labels) == 0


def test_bits_per_byte_counts_utf8() -> None:
    logs, texts = [-np.log(2) * 8, -np.log(2) * 4], ["é", "ab"]
    assert find_metric("bits_per_byte").score([str(v) for v in logs], [[text] for text in texts]) == pytest.approx(12 / 4)


SETTINGS = {
    "bert_score": "bert_score {encoder: pocket-encoder, layer: 3}",
    "length": "length {at_most: 40}",
    "format": "format {of: json}",
    "forbidden_words": "forbidden_words {words: [never]}",
    "reading_level": "reading_level {at_most: 8}",
    "judge": "judge {by: pocket-decoder}",
}


def test_every_file_is_whole() -> None:
    for name in (SETTINGS.get(each, each) for each in names()):
        metric = find_metric(name)
        assert metric.better in ("higher", "lower")
        assert metric.interval in ("wilson", "bootstrap")
        assert metric.name == name
    assert {metric.name for metric in metrics_of("classify")} == {"accuracy", "macro_f1", "micro_f1", "matthews"}
    assert {metric.name for metric in metrics_of("multi_label")} == {"accuracy", "macro_f1", "micro_f1", "hamming_loss"}


SETS = ("arts", "health", "money", "sport")


def label_sets(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Which of SETS rows have, and which they are said to have; some have none."""
    draw = np.random.default_rng(seed)
    true = draw.random((rows, len(SETS))) < 0.3
    return true, true ^ (draw.random(true.shape) < 0.2)


def written(has: np.ndarray) -> list[str]:
    return [joined((label for label, own in zip(SETS, row, strict=True) if own), SETS) for row in has]


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_several_labels_are_scikit_learns(seed: int) -> None:
    true, said = label_sets(seed)
    references = [[text] for text in written(true)]
    assert true.any(0).all()
    assert not true.any(1).all()
    wanted = {
        "micro_f1": f1_score(true, said, average="micro"),
        "macro_f1": f1_score(true, said, average="macro"),
        "accuracy": accuracy_score(true, said),
        "hamming_loss": hamming_loss(true, said),
    }
    for name, value in wanted.items():
        assert find_metric(name).score(written(said), references, SETS) == pytest.approx(value, abs=1e-12), name
    # a label that stands nowhere has no F1 to be averaged
    true[:, 0] = said[:, 0] = False
    macro = f1_score(true, said, average="macro", zero_division=np.nan)
    assert find_metric("macro_f1").score(written(said), [[text] for text in written(true)], SETS) == pytest.approx(macro)


def test_an_answer_that_names_no_label_says_none_and_is_not_right() -> None:
    references = [["none"], ["arts, money"]]
    assert find_metric("accuracy").score(["", ""], references, SETS) == 0
    assert find_metric("hamming_loss").score(["", ""], references, SETS) == 0.25
    assert find_metric("micro_f1").score(["none", "money, arts"], references, SETS) == 1
    assert find_metric("micro_f1").score(["none"], [["none"]], SETS) == 1
    assert find_metric("macro_f1").score(["none"], [["none"]], SETS) == 1
    assert find_metric("micro_f1").score(["arts"], [["none"]], SETS) == 0
    with pytest.raises(BadInput, match="'weather' is not one of the labels"):
        find_metric("micro_f1").score(["arts"], [["weather"]], SETS)


@pytest.mark.parametrize("name", ["micro_f1", "macro_f1", "hamming_loss"])
def test_several_labels_have_intervals_even_where_all_is_right(name: str) -> None:
    true, said = label_sets(0)
    references = [[text] for text in written(true)]
    score = rate(find_metric(name), written(said), references, SETS, seed=0)
    assert score.low < score.value < score.high
    best = rate(find_metric(name), written(true), references, SETS, seed=0)
    assert best.value == find_metric(name).best
    assert best.interval == "wilson"
    assert 0.05 < best.high - best.low < 0.07  # the share's interval, 60 of 60


def tags(seed: int, rows: int = 30) -> tuple[list[list[str]], list[list[str]]]:
    draw = random.Random(seed)
    known = ["O", "B-A", "I-A", "B-B", "I-B"]
    true = [draw.choices(known, k=draw.randint(1, 12)) for _ in range(rows)]
    return true, [[tag if draw.random() < 0.7 else draw.choice(known) for tag in row] for row in true]


def conll(rows: list[list[str]]) -> set[tuple[int, int, int, str]]:
    """Chunks by the state table of the CoNLL evaluation, written out: what opens one, and what ends it."""
    found = set()
    for number, row in enumerate(rows):
        start = None
        for at in range(len(row) + 1):
            before, here = row[at - 1] if at else "O", row[at] if at < len(row) else "O"
            ends = before != "O" and (here == "O" or here[0] == "B" or before[1:] != here[1:])
            opens = here != "O" and (before == "O" or here[0] == "B" or before[1:] != here[1:])
            if start is not None and ends:
                found.add((number, start, at, before[2:]))
                start = None
            start = at if opens else start
    return found


@pytest.mark.parametrize("seed", range(10))
def test_span_f1_is_the_conll_evaluations(seed: int) -> None:
    true, said = tags(seed)
    right = len(conll(true) & conll(said))
    expected = 2 * right / (len(conll(true)) + len(conll(said)))
    answers, references = [" ".join(row) for row in said], [(" ".join(row),) for row in true]
    assert find_metric("span_f1").score(answers, references) == pytest.approx(expected)
    flat = [(a, b) for one, two in zip(true, said, strict=True) for a, b in zip(one, two, strict=True)]
    assert find_metric("tag_accuracy").score(answers, references) == pytest.approx(np.mean([a == b for a, b in flat]))


def test_spans_that_are_not_there() -> None:
    span = find_metric("span_f1")
    assert span.score(["O O", "O"], [["O O"], ["O"]]) == 1
    assert span.score(["O O"], [["O B-A"]]) == 0
    assert span.score(["B-A"], [["O"]]) == 0
    assert span.score(["", "O"], [["B-A O"], ["B-A"]]) == 0
    assert span.score(["NOUN VERB"], [["NOUN NOUN"]]) == 0.5
    assert find_metric("tag_accuracy").score(["O"], [["O O"]]) == 0.5
