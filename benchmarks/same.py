"""Our suites' answers beside lm-eval's, item by item, on published rows and the same prompts, in fp32.

The model is the pocket decoder, given positions for long prompts. `--data` is the folder of the copies (its `benchmarks` and
`classification`), whose rows are put into the columns that lm-eval's tasks read. Of every work the first `--rows` are asked, of
each subject `--each`. Counted are the items whose likeliest option is the same, those where it is not by a margin that counts, and
the largest difference of a log-probability; of what is written, up to so many tokens, the same texts. SQuAD's copy has no titles,
which lm-eval's prompt starts with: both sides are given one.

Raw figures go to benchmarks/results/same.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pairs import Figures, machine, same_scores, task_over, tell, write

RESULTS = Path(__file__).resolve().parent / "results" / "same.json"
POSITIONS = 4096
WRITTEN = 48  # tokens that are written to an item at most
TITLE = "A passage"
Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A suite of ours, lm-eval's task, the copy's files of items and of shots, what makes its rows lm-eval's, and the column with
    the subject, which lm-eval has a task for each of."""

    suite: str
    file: str
    items: str
    theirs: Callable[[Row], Row] = dict
    shown: str = ""
    shots: int = 0
    subject: str = ""


def scene(row: Row) -> Row:
    activity, _, rest = row["ctx"].partition(": ")
    return {"activity_label": activity, "ctx_a": rest, "ctx_b": "", "endings": row["endings"], "label": str(row["label"])}


def fact(row: Row) -> Row:
    letters = "ABCD"
    choices = {"text": row["choices"], "label": list(letters)}
    return {"question_stem": row["q"], "choices": choices, "answerKey": letters[row["answer"]]}


def myth(row: Row) -> Row:
    true, false = row["correct"], row["incorrect"]
    one = {"choices": [row["best"], *false], "labels": [1] + [0] * len(false)}
    return {
        "question": row["question"],
        "mc1_targets": one,
        "mc2_targets": {"choices": [*true, *false], "labels": [1] * len(true) + [0] * len(false)},
    }


def patient(row: Row) -> Row:
    endings = {f"ending{at}": row["options"][letter] for at, letter in enumerate("ABCD")}
    return {"sent1": row["question"], "sent2": "", **endings, "label": "ABCD".index(row["answer"])}


def labelled(names: Sequence[str], **columns: str) -> Callable[[Row], Row]:
    """A row whose label is one of `names`, and whose other columns lm-eval calls otherwise."""

    def theirs(row: Row) -> Row:
        label = row["label"] if isinstance(row["label"], int) else names.index(row["label"])
        return {**{their: row[our] for their, our in columns.items()}, "label": label}

    return theirs


WORKS = (
    Work("mmlu", "mmlu/default/mmlu_abstract_algebra", "benchmarks/mmlu/test", dict, "benchmarks/mmlu/dev", 5, "subject"),
    Work("hellaswag", "hellaswag/hellaswag", "benchmarks/hellaswag/val_10042", scene),
    Work("openbookqa", "openbookqa/openbookqa", "benchmarks/openbookqa/test", fact),
    Work("truthfulqa/mc1", "truthfulqa/truthfulqa_mc1", "benchmarks/truthfulqa/test", myth),
    Work("truthfulqa/mc2", "truthfulqa/truthfulqa_mc2", "benchmarks/truthfulqa/test", myth),
    Work("medqa", "medqa/medqa", "benchmarks/medqa_usmle/test", patient),
    Work(
        "glue/sst2",
        "glue/sst2/default",
        "classification/sst2/test",
        labelled(("negative", "positive"), sentence="text"),
    ),
    Work(
        "glue/cola",
        "glue/cola/default",
        "classification/cola/test",
        labelled(("unacceptable", "acceptable"), sentence="text"),
    ),
    Work(
        "glue/rte",
        "glue/rte/default",
        "classification/rte/test",
        labelled(("entailment", "not_entailment"), sentence1="premise", sentence2="hypothesis"),
    ),
    Work("gsm8k", "gsm8k/gsm8k", "benchmarks/gsm8k/test", dict, "benchmarks/gsm8k/train", 5),
    Work("bbh", "bbh/cot_fewshot/{}", "benchmarks/bbh/test", dict, "benchmarks/bbh/cot_prompts", 3, "task"),
    Work("squad", "", "benchmarks/squad_xquad_en/test", lambda row: {**row, "title": TITLE}),
)


def read(data: Path, file: str) -> list[Row]:
    with (data / f"{file}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def drawn(work: Work, data: Path, run: argparse.Namespace) -> list[Row]:
    """The items: the first, or the first of each subject, whose items stand together."""
    rows = read(data, work.items)
    if not work.subject:
        return rows[: run.rows]
    subjects = dict.fromkeys(row[work.subject] for row in rows)
    return [own for subject in subjects for own in islice((row for row in rows if row[work.subject] == subject), run.each)]


def theirs(work: Work, items: Sequence[Row], shown: Sequence[Row], lm: Any, place: Path) -> list[Any]:
    """What lm-eval makes of each item: the log-probabilities of its options, or a text."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from tuneladder.evaluate.suite import find_suites

    if not work.file:
        return squad(lm, [work.theirs(row) for row in items])
    [suite] = find_suites(work.suite)
    subjects = list(dict.fromkeys(row[work.subject] for row in items)) if work.subject else [""]
    for number, subject in enumerate(subjects):
        files = {}
        pool = [] if work.suite == "bbh" else shown  # BBH's shots stand in its tasks
        for split, rows in (("test", items), ("shown", pool)):
            if own := [work.theirs(row) for row in rows if not subject or row[work.subject] == subject]:
                files[split] = str(place / f"{number}_{split}.json")
                Path(files[split]).write_text("\n".join(map(json.dumps, own)), "utf-8")
        config = task_over(work.file.format(subject), f"same_{number}", files, place / "cache", shots=work.shots)
        if work.suite != "bbh":
            config |= {"fewshot_split": "shown" if "shown" in files else None, "fewshot_config": {"sampler": "first_n"}}
        if work.suite == "mmlu":
            config["description"] = suite.lead(subject)
        if stops := list(suite.decoding.stop):
            config["generation_kwargs"] = {"until": stops, "do_sample": False, "temperature": 0.0, "max_gen_toks": WRITTEN}
        (place / f"{number}.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    found = lm_eval.simple_evaluate(
        model=lm,
        tasks=[f"same_{number}" for number in range(len(subjects))],
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    said: list[Any] = []
    for number in range(len(subjects)):
        samples = {sample["doc_id"]: sample["resps"] for sample in found["samples"][f"same_{number}"]}  # one for each filter
        said += [_plain(samples[at]) for at in sorted(samples)]
    return said


def squad(lm: Any, rows: Sequence[Row]) -> list[str]:
    """What lm-eval's model writes to the prompts of its `squadv2`, whose rows can come from the hub alone."""
    from lm_eval.api.instance import Instance
    from lm_eval.tasks.squadv2.task import SQuAD2

    prompts = [SQuAD2.doc_to_text(None, row) for row in rows]
    rules = {"until": ["\n"], "do_sample": False, "max_gen_toks": WRITTEN}
    asked = [Instance("generate_until", row, (prompt, rules), 0) for row, prompt in zip(rows, prompts, strict=True)]
    return list(lm.generate_until(asked))


def _plain(responses: Any) -> Any:
    """A text, or log-probabilities, out of lists of (log-probability, whether it is greedy)."""
    if isinstance(responses[0][0], str):
        return responses[0][0]
    return [float(each[0][0]) for each in responses]


def ours(work: Work, items: Sequence[Row], shown: str, engine: Any, place: Path) -> list[Any]:
    from tuneladder.evaluate.questions import questions_of
    from tuneladder.evaluate.sitting import sit
    from tuneladder.evaluate.suite import find_suites

    [suite] = find_suites(work.suite)
    suite = replace(suite, decoding=replace(suite.decoding, max_new_tokens=WRITTEN))
    file = place / "items.jsonl"
    given = [work.theirs(row) for row in items] if work.suite == "squad" else items
    file.write_text("\n".join(map(json.dumps, given)), "utf-8")
    sitting = sit(engine, questions_of(suite, data=str(file), shown=shown, shots=work.shots))
    assert not sitting.cut + sum(sitting.dropped), "a prompt did not fit: the two sides were not asked the same"
    if not sitting.said[0].scores:
        return [said.text for said in sitting.said]
    return [list(said.scores) for said in sitting.said]


def compared(theirs: Sequence[Any], ours: Sequence[Any]) -> Figures:
    if isinstance(theirs[0], str):
        alike = sum(a.strip() == b.strip() for a, b in zip(theirs, ours, strict=True))  # lm-eval keeps the blank before
        return {"count": len(ours), "alike": alike, "tokens": WRITTEN}
    return same_scores(theirs, ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with `benchmarks` and `classification`")
    parser.add_argument("--rows", type=int, default=200, help="items of a work without subjects")
    parser.add_argument("--each", type=int, default=4, help="items of each subject")
    parser.add_argument("--works", nargs="+", choices=[work.suite for work in WORKS], default=[work.suite for work in WORKS])
    parser.add_argument("--results", type=Path, default=RESULTS)
    run = parser.parse_args()
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from tuneladder.model.local import LocalEngine
    from tuneladder.model.pocket import folder as folder_of
    from tuneladder.task.encode import Coder

    place = folder_of("pocket-decoder")
    config = AutoConfig.from_pretrained(place, max_position_embeddings=POSITIONS)
    model = AutoModelForCausalLM.from_pretrained(place, config=config, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=POSITIONS)
    engine = LocalEngine(model, Coder(tokenizer, POSITIONS), name="pocket-decoder")
    found: dict[str, Figures] = json.loads(run.results.read_text("utf-8"))["works"] if run.results.exists() else {}
    for work in WORKS:
        if work.suite not in run.works:
            continue
        items = drawn(work, run.data, run)
        shown = read(run.data, work.shown) if work.shown else []
        with tempfile.TemporaryDirectory() as folder:
            file = str(run.data / f"{work.shown}.jsonl") if shown else ""
            own = ours(work, items, file, engine, Path(folder))
            their = theirs(work, items, shown, lm, Path(folder))
        found[work.suite] = {**compared(their, own), "rows": run.each if work.subject else run.rows}
        tell(work.suite, found[work.suite])
        write(run.results, {**machine("torch", "transformers", "lm_eval"), "dtype": "float32", "works": found})


if __name__ == "__main__":
    main()
