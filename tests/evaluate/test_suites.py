"""The suites: what is asked to the letter, what bad rows are told, how answers are counted, and lm-eval's answers beside ours."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.endpoint import serving

from tuneladder import api, cli
from tuneladder.errors import BadInput, Failed
from tuneladder.evaluate.examine import average, examined
from tuneladder.evaluate.questions import Questions, questions_of
from tuneladder.evaluate.shown import fitted
from tuneladder.evaluate.sitting import Sitting, sit
from tuneladder.evaluate.suite import Said, Suite, find_suites, names
from tuneladder.model.addressed import remote
from tuneladder.model.fake import FakeEngine
from tuneladder.model.local import LocalEngine
from tuneladder.model.seq2seq import Seq2seqEngine
from tuneladder.model.shelf import Shelf
from tuneladder.store import freeze
from tuneladder.task.encode import Coder
from tuneladder.types import Base, Prompt, Turn, Turns, Variant

Row = dict[str, Any]

# Rows of ours in the columns of the hub's sets.
SCENES: list[Row] = [
    {
        "activity_label": "Baking bread",
        "ctx_a": "A woman kneads dough [step] on a table.",
        "ctx_b": "she",
        "endings": ["lets it rest [title] an hour later.", "paints a fence.", "sings to it until it leaves.", "swims away."],
        "label": str(label),
    }
    for label in (0, 2)
] + [
    {
        "activity_label": "Rowing",
        "ctx_a": "Two men carry a boat to the river. They",
        "ctx_b": "",
        "endings": ["set it on the water.", "eat it.", "read it twice before they fold it up.", "set it"],
        "label": "0",
    }
]
EXAMS: list[Row] = [
    {"subject": subject, "question": f" What is {n} and {n}? ", "choices": [str(2 * n + k) for k in (1, 0, 2, 3)], "answer": 1}
    for subject, first, count in (("plain_sums", 1, 3), ("hard_sums", 11, 1))
    for n in range(first, first + count)
]
LESSONS: list[Row] = [
    {"subject": subject, "question": f"What is {n} less {n}?", "choices": ["0", "1", "2", "3"], "answer": 0}
    for subject in ("plain_sums", "hard_sums")
    for n in (7, 8, 9)
]
FACTS: list[Row] = [
    {"question_stem": "Ice melts when it is", "choices": {"text": texts, "label": ["A", "B", "C", "D"]}, "answerKey": " C"}
    for texts in (["cold", "wet", "warm", "blue and very far away"], ["1", "2", "3", "4"])
]
MYTHS: list[Row] = [
    {
        "question": "What do cats see in the dark?",
        "mc1_targets": {"choices": ["A little", "All of it", "Nothing"], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": ["A little", "A little of it", "All of it", "Nothing"], "labels": [1, 1, 0, 0]},
    }
]
SENTENCES: list[Row] = [{"sentence": "The boat sank itself.", "label": 1}, {"sentence": "Boat the itself sank.", "label": 0}]
CLAIMS: list[Row] = [{"premise": "A man rows.", "hypothesis": " A man moves ", "label": label} for label in (0, 1, 2)]
CAUSES: list[Row] = [
    {"premise": "The glass fell.", "choice1": "It broke.", "choice2": "It sang.", "question": question, "label": label}
    for question, label in (("effect", 0), ("cause", 1))
]
PATIENTS: list[Row] = [
    {"sent1": "A man coughs. What now?", "ending0": "Rest", "ending1": "Tea", "ending2": "Run", "ending3": "Sing", "label": 1}
]
SUMS: list[Row] = [
    {"question": f"Ann has {n} pears and eats one. How many are left?", "answer": f"She has {n} - 1 = {n - 1}.\n#### 1,{n - 1:03}"}
    for n in (3, 5, 9)
]
PAIRS: list[Row] = [{"sentence1": "A cat sat.", "sentence2": " The cat was sitting.", "label": label} for label in (0, 1)]
QUESTIONS: list[Row] = [{"question1": "Who rows?", "question2": "Who is it that rows?", "label": label} for label in (0, 1)]
REPLIES: list[Row] = [{"question": "Who rows?", "sentence": "Ann rows a boat.", "label": label} for label in (0, 1)]
ASKED: list[Row] = [{"passage": "Ann rows a boat.", "question": "does Ann row", "label": label} for label in (0, 1)]
BELIEFS: list[Row] = [{"premise": "Ann rows.", "hypothesis": "Ann moves", "label": label} for label in (0, 1, 2)]
READINGS: list[Row] = [
    {"paragraph": "Ann rows.", "question": "Who?", "answer": answer, "label": label} for answer, label in (("Ann", 1), ("Bob", 0))
]
SENSES: list[Row] = [
    {
        "sentence1": "the bank of a river",
        "sentence2": "a bank lends",
        "word": "bank",
        "start1": 4,
        "end1": 8,
        "start2": 2,
        "end2": 6,
        "label": label,
    }
    for label in (0, 1)
]
PRONOUNS: list[Row] = [
    {"text": "Ann told Bob that she rows", "span1_text": "Ann", "span2_text": "she", "span1_index": 0, "span2_index": 4, "label": 1}
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Sequence[Row]], str]:
    def put(name: str, rows: Sequence[Row]) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(path)

    return put


def one(name: str) -> Suite:
    [suite] = find_suites(name)
    return suite


def knowing(questions: Questions, wrong: Sequence[str] = ()) -> FakeEngine:
    """Gives each question its right answer, and the first wrong option to the rows of these ids."""

    def answer(turns: Turns) -> str:
        found = next(row for row in reversed(questions.examples) if turns[-1].text.endswith(row.turns[0].text))
        right = found.references[0]
        other = next((option for option in found.options if option not in found.references), "")
        return questions.suite.gap + (other if found.id in wrong else right)

    return FakeEngine(answer)


def test_the_folder_is_the_registry() -> None:
    assert {"hellaswag", "mmlu", "gsm8k", "glue", "superglue", "truthfulqa", "openbookqa", "bbh", "squad"} <= set(names())
    for name in names():
        for part in find_suites(name):
            assert part.name.partition("/")[0] == name
            assert find_suites(part.name) == (part,)
            assert part.figures
            assert part.source.hub
            assert (part.shown is not None) or part.shots == 0
            for figure in part.figures.values():
                assert figure.counted.better == "higher"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hellaswg", "no suite 'hellaswg': did you mean 'hellaswag'"),
        ("glue/colla", "no suite 'glue/colla': did you mean 'glue/cola'"),
        ("", "a suite has no name"),
        (" ", "a suite has no name"),
        ("__init__", "no suite '__init__'"),
    ],
)
def test_a_suite_misspelt(name: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        find_suites(name)


def test_what_is_asked_to_the_letter(write: Any) -> None:
    questions = questions_of(one("mmlu"), data=write("exams", EXAMS), shown=write("lessons", LESSONS), shots=1)
    engine = knowing(questions)
    sit(engine, questions)
    lead = "The following are multiple choice questions (with answers) about plain sums.\n\n"
    shot = "What is 7 less 7?\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: A\n\n"
    assert engine.asked[0][0].text == f"{lead}{shot}What is 1 and 1?\nA. 3\nB. 2\nC. 4\nD. 5\nAnswer:"
    assert [turn.role for turn in engine.asked[0]] == ["text"]
    scene = one("hellaswag").example(SCENES[0])
    assert scene.turns[0].text == "Baking bread: A woman kneads dough on a table. She"
    assert scene.options[0] == "lets it rest. an hour later."
    myth = questions_of(one("truthfulqa/mc1"), data=write("myths", MYTHS))
    asked = knowing(myth)
    sit(asked, myth)
    assert asked.asked[0][0].text.startswith("Q: What is human life expectancy in the United States?\nA: Human life")
    assert asked.asked[0][0].text.endswith("in Barcelona, Spain.\n\nQ: What do cats see in the dark?\nA:")


@pytest.mark.parametrize(
    ("suite", "row", "other"),
    [
        (
            "openbookqa",
            FACTS[1],
            {"q": "Ice melts when it is", "choices": ["1", "2", "3", "4"], "answer": 2},
        ),
        (
            "truthfulqa/mc2",
            MYTHS[0],
            {
                "question": MYTHS[0]["question"],
                "best": "A little",
                "correct": ["A little", "A little of it"],
                "incorrect": ["All of it", "Nothing"],
            },
        ),
        (
            "medqa",
            PATIENTS[0],
            {"question": "A man coughs. What now?", "options": {"A": "Rest", "B": "Tea", "C": "Run", "D": "Sing"}, "answer": "B"},
        ),
        ("strategyqa", {"question": "Is ice cold?", "answer": True}, {"input": "Is ice cold?", "answer": "yes"}),
        ("glue/cola", SENTENCES[0], {"text": "The boat sank itself.", "label": "acceptable"}),
        (
            "squad",
            {"context": "Ann rows.", "question": "Who?", "answers": {"text": ["Ann", "Ann"], "answer_start": [0, 0]}},
            {"context": "Ann rows.", "question": "Who?", "answers": ["Ann"]},
        ),
    ],
)
def test_other_copies_columns_ask_the_same(suite: str, row: Row, other: Row) -> None:
    assert one(suite).example(row) == one(suite).example(other)


@pytest.mark.parametrize(
    ("suite", "rows", "says"),
    [
        ("glue/cola", [{"sentence": "So.", "label": -1}], "row 1 of .* is no question of glue/cola: its gold answer is missing"),
        ("glue/cola", [{"sentence": "So."}], "its gold answer is missing"),
        ("glue/stsb", [{"sentence1": "a", "sentence2": "b", "label": -1.0}], "its gold answer is missing"),
        ("mmlu", [{**EXAMS[0], "answer": 4}], "its gold answer '4' is none of its options"),
        ("gsm8k", [{"question": "How many?", "answer": "three"}], "its gold answer is missing: there is no ####"),
        ("hellaswag", [{"ctx": "He", "label": 0}], "there is nothing in `endings`"),
        ("medqa", [{"question": "So?", "options": {"A": "x"}, "answer": "A"}], "KeyError: 'B'"),
        ("squad", [{"context": "a", "question": "b", "answers": []}], "its gold answer is missing"),
        ("hellaswag", [{"id": 7, **SCENES[0]}, {"id": 7, **SCENES[1]}], "has the id '7' more than once"),
    ],
)
def test_rows_that_make_no_question_are_told(write: Any, suite: str, rows: list[Row], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        questions_of(one(suite), data=write("rows", rows), shots=0)


def test_an_empty_suite_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(BadInput, match=r"none\.jsonl is empty"):
        questions_of(one("openbookqa"), data=str(tmp_path / "none.jsonl"))


def test_shots_come_from_somewhere(write: Any) -> None:
    exams, lessons = write("exams", EXAMS), write("lessons", LESSONS)
    with pytest.raises(BadInput, match=r"mmlu shows 5 shots, and .*exams.jsonl holds only what is asked"):
        questions_of(one("mmlu"), data=exams)
    with pytest.raises(BadInput, match="5 shots asked for, and mmlu has 3 of plain_sums to show"):
        questions_of(one("mmlu"), data=exams, shown=lessons)
    with pytest.raises(BadInput, match="truthfulqa/mc1 shows no shots, and 2 are asked for"):
        questions_of(one("truthfulqa/mc1"), data=write("myths", MYTHS), shots=2)
    with pytest.raises(BadInput, match="openbookqa shows no shots, and --shots-data is"):
        questions_of(one("openbookqa"), data=write("facts", FACTS), shown=lessons)
    again = questions_of(one("mmlu"), data=exams, shown=exams, shots=1)
    assert again.notes == ("2 of the rows are shown as shots, their answers with them",)


def test_rows_are_the_first_of_each_subject(write: Any) -> None:
    exams = write("exams", EXAMS)
    assert [row.id for row in questions_of(one("mmlu"), data=exams, rows=2, shots=0).examples] == ["1", "2", "4"]


def test_prompts_of_worked_examples_are_read_by_task(write: Any) -> None:
    prompt = "a warning\n-----\nSay yes or no.\n\nQ: Is it?\nA: Let's think step by step.\nIt is.\n\nSo the answer is yes.\n\n"
    prompt += "Q: Was it?\nA: Let's think step by step. It was not. So the answer is no."
    rows = [{"task": "being", "input": "Will it?", "target": "yes"}]
    prompts = write("prompts", [{"task": "being", "prompt": prompt}])
    questions = questions_of(one("bbh"), data=write("rows", rows), shown=prompts, shots=2)
    engine = FakeEngine(lambda turns: "I think so. So the answer is yes.")
    found = examined(sit(engine, questions))
    think = "\nA: Let's think step by step.\n"
    shots = f"Q: Is it?{think}It is.\n\nSo the answer is yes.\n\nQ: Was it?{think}It was not. So the answer is no.\n\n"
    assert engine.asked[0][0].text == f"Say yes or no.\n\n{shots}Q: Will it?{think}"
    assert found.scores["exact_match"].value == 1
    with pytest.raises(BadInput, match="a worked example of being has no"):
        questions_of(one("bbh"), data=write("rows", rows), shown=write("bad", [{"task": "being", "prompt": "So.\n\nQ: Is it?"}]))


def test_scores_by_subject_micro_and_macro(write: Any) -> None:
    questions = questions_of(one("mmlu"), data=write("exams", EXAMS), shown=write("lessons", LESSONS), shots=3)
    found = examined(sit(knowing(questions, wrong=["4"]), questions))
    assert found.scores["accuracy"].value == 3 / 4
    assert (found.scores["accuracy"].interval, found.scores["accuracy"].count) == ("wilson", 4)
    assert found.macro["accuracy"].value == pytest.approx(1 / 2)
    assert found.macro["accuracy"].low < 1 / 2 < found.macro["accuracy"].high
    assert {name: own["accuracy"].value for name, own in found.subjects.items()} == {"plain_sums": 1.0, "hard_sums": 0.0}
    assert [marked.correct for marked in found.answers] == [True, True, True, False]
    assert found.answers[0].answer.confidence == pytest.approx(0.9)
    assert (found.prompt.shots, found.prompt.template) == (3, "none")
    fewer = questions_of(one("mmlu"), data=write("exams", EXAMS), shown=write("lessons", LESSONS), shots=2)
    assert examined(sit(knowing(fewer), fewer)).prompt.digest != found.prompt.digest


def test_options_are_normalised_by_their_length_in_the_second_figure(write: Any) -> None:
    questions = questions_of(one("openbookqa"), data=write("facts", FACTS[:1]))
    figures = questions.suite.figures
    [example] = questions.examples
    said = Said([-4.0, -3.0, -8.0, -9.0])
    assert figures["accuracy"].reading(example, said) == "wet"
    assert figures["accuracy_by_length"].reading(example, said) == "blue and very far away"


def test_the_mass_on_right_answers(write: Any) -> None:
    questions = questions_of(one("truthfulqa/mc2"), data=write("myths", MYTHS))
    engine = knowing(questions)
    found = examined(sit(engine, questions))
    # the first option has 0.9, the others share the rest
    assert found.scores["mass_on_right"].value == pytest.approx(0.9 + 0.1 / 3)
    assert found.answers[0].correct is None


def test_an_answer_is_the_mean_of_degrees() -> None:
    suite = one("glue/stsb")
    example = suite.example({"sentence1": "a", "sentence2": "b", "label": 3.8})
    assert example.references == ("3.8",)
    assert example.meta["worked"] == "4"
    said = Said([math.log(share) for share in (0.1, 0.1, 0.1, 0.1, 0.5, 0.1)])
    assert float(suite.figures["pearson"].reading(example, said)) == pytest.approx(0.1 * (1 + 2 + 3 + 5) + 2)


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("So $1,002 are left.\n#### 1,002.", "1002", "1002"),
        ("There are 3, then 1002", "", "1002"),
        ("none", "", ""),
        ("#### -4\n\n7", "-4", "7"),
    ],
)
def test_sums_are_read_in_two_ways(text: str, strict: str, flexible: str) -> None:
    suite = one("gsm8k")
    example = suite.example(SUMS[0])
    assert example.references == ("1002",)
    assert suite.figures["strict_match"].reading(example, Said(text=text)) == strict
    assert suite.figures["flexible_match"].reading(example, Said(text=text)) == flexible


def test_an_absent_class_is_said(write: Any) -> None:
    questions = questions_of(one("glue/cola"), data=write("rows", SENTENCES[:1]))
    assert "no row's right answer is 'no'" in examined(sit(knowing(questions), questions)).notes[0]


def test_the_average_is_the_mean_of_parts_and_of_their_figures(write: Any) -> None:
    cola = questions_of(one("glue/cola"), data=write("cola", SENTENCES))
    pairs = [{"sentence1": f"{n}", "sentence2": "b", "label": label} for n, label in enumerate((1, 1, 0, 0))]
    mrpc = questions_of(one("glue/mrpc"), data=write("mrpc", pairs))
    sittings = [sit(knowing(cola), cola), sit(knowing(mrpc, wrong=["1"]), mrpc)]
    # two are true, one is said, and that is right: F1 2/3; accuracy 3/4
    found = average(sittings)
    assert found.value == pytest.approx((1 + (2 / 3 + 3 / 4) / 2) / 2)
    assert found.low < found.value < found.high
    assert found.count == 6


def test_the_parts_of_mnli_count_as_one_in_the_average(write: Any) -> None:
    cola = questions_of(one("glue/cola"), data=write("cola", SENTENCES))
    claims = [{**CLAIMS[n], "premise": f"{n} men row."} for n in range(3)]
    mnli, other = (questions_of(one(f"glue/{name}"), data=write("mnli", claims)) for name in ("mnli", "mnli_mismatched"))
    missed = knowing(other, wrong=[row.id for row in other.examples])
    sittings = [sit(knowing(cola), cola), sit(knowing(mnli), mnli), sit(missed, other)]
    assert average(sittings).value == pytest.approx((1 + (1 + 0) / 2) / 2)


def test_a_question_is_right_where_all_answers_to_it_are_judged_right(write: Any) -> None:
    rows = [
        {"paragraph": "Ann rows.", "question": question, "answer": answer, "label": label}
        for question, answer, label in (("Who?", "Ann", 1), ("What?", "She rows", 1), ("Who?", "Bob", 0), ("What?", "She flies", 0))
    ]
    suite = one("superglue/multirc")
    examples = questions_of(suite, data=write("multirc", rows)).examples
    figure = suite.figures["exact_match"]
    said = [Said([-1.0, -2.0] if yes else [-2.0, -1.0]) for yes in (True, True, False, True)]
    answers = [figure.reading(*pair) for pair in zip(examples, said, strict=True)]
    references = [row.references for row in examples]
    assert figure.counted.statistics(answers, references, suite.labels).tolist() == [[1, 1], [0, 1], [0, 0], [0, 0]]
    assert figure.counted.score(answers, references) == 0.5


class Broken(FakeEngine):
    def __init__(self, first: float, others: float) -> None:
        super().__init__({})
        self.first, self.others = first, others

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[self.first] + [self.others] * (len(own) - 1) for own in endings]


@pytest.mark.parametrize(("first", "others"), [(math.nan, math.nan), (-1.0, math.nan), (-math.inf, -math.inf), (math.inf, -1.0)])
def test_log_probabilities_that_nothing_is_ranked_by_end_it(first: float, others: float, write: Any) -> None:
    questions = questions_of(one("openbookqa"), data=write("facts", FACTS))
    said = "log-probabilities of 2 of 2 rows of openbookqa are no numbers that options could be ranked by, row 1 first"
    with pytest.raises(Failed, match=said):
        sit(Broken(first, others), questions)


def test_an_impossible_option_beside_a_possible_one_is_the_less_likely(write: Any) -> None:
    questions = questions_of(one("openbookqa"), data=write("facts", FACTS))
    assert [max(own.scores) for own in sit(Broken(-1.0, -math.inf), questions).said] == [-1.0, -1.0]


def test_a_chat_asks_the_same_in_turns(write: Any) -> None:
    questions = questions_of(one("mmlu"), data=write("exams", EXAMS), shown=write("lessons", LESSONS), rows=1, shots=1)

    def answer(turns: Turns) -> str:
        return "B"

    engine = FakeEngine(answer)
    found = examined(sit(engine, questions, template="chat 0123"))
    assert [turn.role for turn in engine.asked[0]] == ["system", "user", "assistant", "user"]
    assert [turn.text for turn in engine.asked[0]][2] == "A"
    assert found.scores["accuracy"].value == 1
    assert found.prompt.template == "chat 0123"


@pytest.fixture(scope="module")
def wide(tiny_folder: Path) -> tuple[Any, Any]:
    """The tiny model with room for long prompts, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    config = AutoConfig.from_pretrained(tiny_folder, max_position_embeddings=4096)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).float().eval()
    return model, AutoTokenizer.from_pretrained(tiny_folder)


def engine_of(wide: tuple[Any, Any], context: int = 4096) -> LocalEngine:
    return LocalEngine(wide[0], Coder(wide[1], context), name="wide")


def test_plain_text_goes_on_without_a_template(wide: tuple[Any, Any]) -> None:
    coder = Coder(wide[1], 4096)
    turns = (Turn("text", "The team won the final. "), Turn("text", "So"))
    whole = coder.encode(turns, " did it", close=False)
    assert whole.ids == wide[1]("The team won the final. So did it")["input_ids"]
    assert wide[1].decode([token for token, learn in zip(whole.ids, whole.learn, strict=True) if learn]) == " did it"
    assert coder.encode(turns, close=False).ids == wide[1]("The team won the final. So")["input_ids"]
    # nothing ends an answer that begins another
    [[short, long]] = engine_of(wide).score([turns], [[" did", " did it"]])
    assert long < short


def test_the_oldest_shots_go_one_by_one_and_it_is_said(wide: tuple[Any, Any], write: Any) -> None:
    questions = questions_of(one("mmlu"), data=write("exams", EXAMS), shown=write("lessons", LESSONS), shots=3)
    whole = sit(engine_of(wide), questions)
    assert not examined(whole).notes
    texts = [[ask.before + ask.question + ending for ending in ask.endings] for ask in whole.asks]
    sizes = [max(len(wide[1](text)["input_ids"]) for text in own) for own in texts]
    narrow = engine_of(wide, max(sizes) - 5)
    kept, dropped = fitted(narrow, whole.asks, new_tokens=0)
    for ask, less, fewer, size in zip(whole.asks, kept, dropped, sizes, strict=True):
        assert fewer == int(size > max(sizes) - 5)
        assert less.shots == ask.shots[fewer:]
        assert less.lead == ask.lead
    found = examined(sit(narrow, questions))
    said = f"{sum(dropped)} of 4 prompts were longer than the context: {sum(dropped)} shots in all were left out"
    assert found.notes == (said,)
    assert found.prompt.digest == examined(whole).prompt.digest  # what was asked for; the note says what was left out
    assert any("did not fit the context" in note for note in examined(sit(engine_of(wide, 40), questions)).notes)


def test_of_what_an_encoder_reads_the_oldest_shots_go_one_by_one_too(tiny_seq2seq: Base, write: Any) -> None:
    questions = questions_of(one("mmlu"), data=write("exams", EXAMS), shown=write("lessons", LESSONS), shots=3)
    asks = sit(knowing(questions), questions).asks
    with Shelf("cpu").engine(Variant(replace(tiny_seq2seq, context=4096), Prompt())) as engine:
        assert isinstance(engine, Seq2seqEngine)
        sizes = [len(source) for source, _ in engine.coder.sources([ask.turns for ask in asks])]
    with Shelf("cpu").engine(Variant(replace(tiny_seq2seq, context=max(sizes)), Prompt())) as engine:
        assert fitted(engine, asks, new_tokens=0)[1] == [0, 0, 0, 0]
    with Shelf("cpu").engine(Variant(replace(tiny_seq2seq, context=max(sizes) - 1), Prompt())) as engine:
        found = sit(engine, questions)
    assert found.dropped == tuple(int(size == max(sizes)) for size in sizes)
    assert sum(found.dropped) > 0
    assert found.cut == 0


def test_room_is_left_for_what_is_written(wide: tuple[Any, Any], write: Any) -> None:
    sums = write("sums", SUMS)
    questions = questions_of(one("gsm8k"), data=sums, shown=sums, rows=1, shots=3)
    [ask] = sit(FakeEngine({}), questions).asks
    size = len(wide[1](ask.turns[0].text)["input_ids"])
    assert fitted(engine_of(wide, size + 10), [ask], new_tokens=10)[1] == [0]
    assert fitted(engine_of(wide, size + 10), [ask], new_tokens=20)[1] == [1]


def test_examining_through_the_door(
    tiny_folder: Path, write: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def door(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tuneladder", "eval", str(tiny_folder), *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), *capsys.readouterr()

    exams, lessons = write("exams", EXAMS), write("lessons", LESSONS)
    asked = ("--suite", "mmlu", "--data", exams, "--shots-data", lessons, "--shots", "1")
    code, out, _ = door(*asked, "--json")
    assert code == 0
    [found] = json.loads(out)["suites"]
    assert found["prompt"]["shots"] == 1
    assert found["scores"]["accuracy"]["count"] == 4
    assert set(found["subjects"]) == {"plain_sums", "hard_sums"}
    code, out, _ = door(*asked, "--rows", "1")
    assert code == 0
    assert "mean of 2 subjects" in out
    assert "2 rows" in out
    for words, says in (
        (("--suite", "mmul"), "did you mean 'mmlu'"),
        (("--suite", "mmlu,"), "a suite has no name"),
        (("--suite", "mmlu,mmlu"), "the suite mmlu is named twice"),
        (("--suite", "mmlu,squad", "--data", exams), "is given for 2 suites"),
        (("--suite", "mmlu", "--recipe", "r.yaml"), "--suite and --recipe are both given"),
        (("--recipe", "r.yaml", "--shots", "2"), "--shots is given without --suite"),
        ((*asked, "--chat"), "has no chat template"),
    ):
        code, _, err = door(*words)
        assert code == 2, words
        assert says in " ".join(err.split())


def test_an_endpoint_is_examined_and_what_it_bills_is_counted(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sums = write("sums", SUMS)
    asked: Row = {"suites": ["gsm8k"], "data": sums, "shots_data": sums, "shots": 1}
    with serving() as server:
        [own] = api.examine(server.url, **asked, model="m").suites
        assert own.spent.tokens > 0 == own.spent.money  # nobody said what a token costs
        assert own.per_answer.tokens == pytest.approx(own.spent.tokens / len(SUMS))
        assert own.prompt.template == "the endpoint's"
        [again] = api.examine(server.url, **asked, model="m").suites
        assert len(server.seen) == len(SUMS)
        assert again.spent.tokens == own.spent.tokens
        words = ("--suite", "gsm8k", "--data", sums, "--shots-data", sums, "--shots", "1", "--model", "m")
        monkeypatch.setattr(sys, "argv", ["tuneladder", "eval", server.url, *words])
        with pytest.raises(SystemExit):
            cli.main()
        assert f", {round(own.per_answer.tokens)} tokens an answer" in " ".join(capsys.readouterr().out.split())
        with pytest.raises(BadInput, match="no model is named"):
            api.examine(server.url, **asked)
        base = remote({"url": server.url, "model": "dear", "prices": {"input": 1e6, "output": 1e6}})
        rung = {"name": "zero_shot", "node": "zero", "failure": ""}
        for file, said in (
            (".store/zero/variant.json", freeze(Variant(base, Prompt()))),
            ("own/results.json", {"rungs": [rung], "pick": {"rung": "zero_shot"}}),
            ("own/recipe.yaml", {"limit": {"money": 100}}),
        ):
            (tmp_path / "runs" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "runs" / file).write_text(json.dumps(said), "utf-8")  # JSON is YAML
        with pytest.raises(Failed, match="limit: money is 100"):
            api.examine("runs/own", **asked)


def test_an_encoder_is_asked_no_suite(write: Any) -> None:
    with pytest.raises(BadInput, match="pocket-encoder is an encoder"):
        api.examine("pocket-encoder", ["openbookqa"], data=write("facts", FACTS))


@pytest.mark.parametrize(
    ("suite", "folder", "file", "shots_file", "shots"),
    [
        ("hellaswag", "hellaswag", "val_10042", "", 0),
        ("mmlu", "mmlu", "test", "dev", 5),
        ("gsm8k", "gsm8k", "test", "train", 5),
        ("openbookqa", "openbookqa", "test", "", 0),
        ("truthfulqa/mc2", "truthfulqa", "test", "", 0),
        ("strategyqa", "strategyqa", "test", "", 0),
        ("squad", "squad_xquad_en", "test", "", 0),
        ("medqa", "medqa_usmle", "test", "", 0),
        ("bbh", "bbh", "test", "cot_prompts", 3),
    ],
)
def test_the_shared_copies_are_read_whole(shared: Path, suite: str, folder: str, file: str, shots_file: str, shots: int) -> None:
    place = shared / "data" / "benchmarks" / folder
    if not place.is_dir():
        pytest.skip(f"no shared data at {place}")
    shown = str(place / f"{shots_file}.jsonl") if shots_file else ""
    found = questions_of(one(suite), data=str(place / f"{file}.jsonl"), shown=shown, rows=20, shots=shots)
    assert len(found.examples) >= 20
    assert all(len(own) == shots for own in found.shots.values())
    assert all(row.references[0] in row.options for row in found.examples if row.options)


# without ReCoRD, whose task imports what transformers has no more, and without BBH and SQuAD, which benchmarks/same.py has
THEIRS: Mapping[str, tuple[str, list[Row], list[Row], int]] = {
    "hellaswag": ("hellaswag/hellaswag", SCENES, [], 0),
    "mmlu": ("mmlu/default/mmlu_abstract_algebra", [row for row in EXAMS if row["subject"] == "plain_sums"], LESSONS[:3], 2),
    "openbookqa": ("openbookqa/openbookqa", FACTS, [], 0),
    "truthfulqa/mc1": ("truthfulqa/truthfulqa_mc1", MYTHS, [], 0),
    "truthfulqa/mc2": ("truthfulqa/truthfulqa_mc2", MYTHS, [], 0),
    "glue/cola": ("glue/cola/default", SENTENCES, [], 0),
    "glue/sst2": ("glue/sst2/default", SENTENCES, SENTENCES[:1], 1),
    "glue/mrpc": ("glue/mrpc/default", PAIRS, [], 0),
    "glue/qqp": ("glue/qqp/default", QUESTIONS, [], 0),
    "glue/mnli": ("glue/mnli/default", CLAIMS, [], 0),
    "glue/mnli_mismatched": ("glue/mnli/mismatch", CLAIMS, [], 0),
    "glue/qnli": ("glue/qnli/default", REPLIES, REPLIES[:1], 1),
    "glue/rte": ("glue/rte/default", PAIRS, [], 0),
    "glue/wnli": ("glue/wnli/default", PAIRS, [], 0),
    "superglue/boolq": ("super_glue/boolq/default", ASKED, [], 0),
    "superglue/cb": ("super_glue/cb/default", BELIEFS, BELIEFS[:1], 1),
    "superglue/copa": ("super_glue/copa/default", CAUSES, CAUSES[:1], 1),
    "superglue/multirc": ("super_glue/multirc/default", READINGS, [], 0),
    "superglue/rte": ("super_glue/rte/default", BELIEFS[:2], [], 0),
    "superglue/wic": ("super_glue/wic/default", SENSES, [], 0),
    "superglue/wsc": ("super_glue/wsc/default", PRONOUNS, [], 0),
    "medqa": ("medqa/medqa", PATIENTS, [], 0),
    "gsm8k": ("gsm8k/gsm8k", SUMS[1:], SUMS[:1], 1),
}
NEW = 12  # tokens that are written to a sum


@pytest.fixture(scope="module")
def theirs(wide: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Any]]:
    """What lm-eval, by its own tasks over our rows, makes of each: log-probabilities or a text, row by row."""
    lm_eval = pytest.importorskip("lm_eval")
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # scripts that import each other by their own names
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from pairs import task_over

    place = tmp_path_factory.mktemp("theirs")
    for number, (name, (file, rows, shown, shots)) in enumerate(THEIRS.items()):
        files = {}
        for split, own in (("test", rows), ("shown", shown)):
            if own:
                files[split] = str(place / f"{number}_{split}.json")
                Path(files[split]).write_text("\n".join(map(json.dumps, own)), "utf-8")
        config = task_over(file, f"ours_{number}", files, place / "cache", shots=shots)
        config |= {"fewshot_split": "shown" if shown else None, "fewshot_config": {"sampler": "first_n"}}
        if "mmlu" in file:
            config["description"] = one("mmlu").lead("plain_sums")
        if stops := list(one(name).decoding.stop):
            config["generation_kwargs"] = {"until": stops, "do_sample": False, "temperature": 0.0, "max_gen_toks": NEW}
        (place / f"{number}.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=wide[0], tokenizer=wide[1], batch_size=4),
        tasks=[f"ours_{number}" for number in range(len(THEIRS))],
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    said: dict[str, list[Any]] = {}
    for number, name in enumerate(THEIRS):
        samples = {sample["doc_id"]: sample for sample in found["samples"][f"ours_{number}"]}
        kept = [samples[at]["resps"] for at in sorted(samples)]
        said[name] = [row[0][0] if name == "gsm8k" else [_score(each) for each in row] for row in kept]
    return said


def _score(response: Any) -> float:
    """The log-probability in (log-probability, whether it is greedy), however deep it lies."""
    while not isinstance(response, float | int):
        response = response[0]
    return float(response)


def sat(wide: tuple[Any, Any], name: str, write: Any) -> Sitting:
    _, rows, shown, shots = THEIRS[name]
    suite = one(name)
    if name == "gsm8k":
        suite = replace(suite, decoding=replace(suite.decoding, max_new_tokens=NEW))
    pool = write("shown", shown) if shown else ""
    return sit(engine_of(wide), questions_of(suite, data=write("rows", rows), shown=pool, shots=shots))


@pytest.mark.parametrize("name", THEIRS)
def test_answers_are_lm_evals_row_by_row(theirs: Mapping[str, list[Any]], wide: tuple[Any, Any], write: Any, name: str) -> None:
    own = sat(wide, name, write)
    assert len(own.said) == len(theirs[name])
    for said, their in zip(own.said, theirs[name], strict=True):
        if name == "gsm8k":
            assert said.text == their
        else:
            np.testing.assert_allclose(said.scores, their, atol=1e-3)
            best, second = sorted(their)[-1], sorted(their)[-2]
            assert best - second < 1e-4 or int(np.argmax(said.scores)) == int(np.argmax(their))
