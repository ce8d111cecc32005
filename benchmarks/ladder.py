"""The demo's ladder beside the same rungs as separate scripts: wall time of all, imports included, in one run.

The scripts are what one writes without a ladder, one process each, on the demo's own data split and the two pocket bases:

    zero_shot, few_shot   lm-eval on the test rows
    lora, full            of the decoder: TRL's SFTTrainer (with PEFT), then lm-eval on the test rows
                          of the encoder: transformers' Trainer (with PEFT), then its predictions of the test rows
    linear_probe          transformers' hidden states, their mean, and scikit-learn's logistic regression

They make as many steps as the climb made, on as many rows a step, with the attention that is the faster (tried beforehand), and
examine only the test rows; the climb examines every rung on dev, what stands for confirmation on test, measures forgetting, and
writes its report.

Raw figures go to benchmarks/results/ladder.json. `--pairs 1` is a rehearsal.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pairs import Figures, alternating, contestant, machine, ratio, write
from works import PLAIN_TRAINER as PLAIN

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "ladder.json"
BASES = ("pocket-encoder", "pocket-decoder")
SCRIPTS = (
    *(("pocket-decoder", rung) for rung in ("zero_shot", "few_shot", "linear_probe", "lora", "full")),
    *(("pocket-encoder", rung) for rung in ("linear_probe", "lora", "full")),
)
BATCH, SHOTS = 16, 8
TUNED = ("lora", "full")
TRIED = 20  # steps with which the attention is chosen


def climb(folder: Path) -> Figures:
    """The demo as a user climbs it, into a folder whose parent, where the store lies, is empty too."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [str(Path(sys.executable).parent / "tuneladder"), "climb", "--out", f"{out}/run"]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
        seconds = time.perf_counter() - begun
        return {"seconds": seconds, "steps": steps_of(Path(out))}


def steps_of(out: Path) -> dict[str, int]:
    """How many steps each rung of the run `out`/run trained."""
    found = {}
    for rung in json.loads((out / "run" / "results.json").read_text("utf-8"))["rungs"]:
        log = out / ".store" / rung["node"] / "log.jsonl"
        if rung["node"] and log.exists():
            found[rung["name"]] = json.loads(log.read_text("utf-8").splitlines()[-1])["step"]
    return found


def faster(folder: Path) -> dict[str, str]:
    """The attention with which each script that trains is the faster."""
    best = {}
    for base, rung in SCRIPTS:
        if rung in TUNED:
            seconds = {}
            for attention in ("sdpa", "eager"):
                begun = time.perf_counter()
                contestant(HERE, rung, base=base, folder=folder, steps=TRIED, attention=attention)
                seconds[attention] = time.perf_counter() - begun
            best[f"{base}/{rung}"] = min(seconds, key=lambda attention: seconds[attention])
    return best


def scripts(folder: Path, steps: dict[str, int], attention: dict[str, str]) -> Figures:
    """Each script in a process of its own, one after another."""
    each: dict[str, Figures] = {}
    for base, rung in SCRIPTS:
        name = f"{base}/{rung}"
        own = {"steps": steps[name], "attention": attention[name]} if rung in TUNED else {}
        begun = time.perf_counter()
        found = contestant(HERE, rung, base=base, folder=folder, **own)
        each[name] = {"seconds": time.perf_counter() - begun, **found}
        print(f"  {name}: {each[name]['seconds']:.1f} s, accuracy {found['accuracy']:.3f}", file=sys.stderr, flush=True)
    return {"seconds": sum(own["seconds"] for own in each.values()), "each": each}


def build(folder: Path) -> None:
    """The demo's rows, split as the climb splits them, and where the two bases lie."""
    from tuneladder.model.inspect import inspect
    from tuneladder.recipe import load

    task = load().task
    parts = {"train": task.examples.train, "test": task.examples.test}
    rows = {
        part: [{"text": own.turns[-1].text, "label": own.references[0]} for own in examples] for part, examples in parts.items()
    }
    for part, own in rows.items():
        (folder / f"{part}.json").write_text("\n".join(map(json.dumps, own)), "utf-8")
    facts = {
        "labels": task.labels,
        "instruction": task.prompt.instruction,
        "places": {base: inspect(base).location for base in BASES},
    }
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")


class Script:
    """What every script reads."""

    def __init__(self, run: argparse.Namespace) -> None:
        facts = json.loads((run.folder / "facts.json").read_text("utf-8"))
        self.folder, self.steps, self.attention = run.folder, run.steps, run.attention
        self.place, self.labels, self.instruction = facts["places"][run.base], facts["labels"], facts["instruction"]
        self.train, self.test = (
            [json.loads(line) for line in (run.folder / f"{part}.json").read_text("utf-8").splitlines()]
            for part in ("train", "test")
        )

    def numbers(self, rows: list[dict[str, str]]) -> list[int]:
        return [self.labels.index(row["label"]) for row in rows]

    def accuracy(self, picks: list[int]) -> Figures:
        right = [pick == number for pick, number in zip(picks, self.numbers(self.test), strict=True)]
        return {"accuracy": statistics.fmean(right)}


def asked(script: Script, shots: int, **model: Any) -> Figures:
    """lm-eval on the test rows, as its documentation sets it up: a task in YAML, its Hugging Face backend."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory(dir=script.folder) as own:
        files = {part: str(script.folder / f"{part}.json") for part in ("train", "test")}
        task = {
            "task": "desks",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files, "cache_dir": own},
            "test_split": "test",
            "fewshot_split": "train",
            "description": f"{script.instruction}\n\n",
            "output_type": "multiple_choice",
            "doc_to_text": "{{text}}\nAnswer:",
            "doc_to_choice": script.labels,
            "doc_to_target": "label",
            "metric_list": [{"metric": "acc"}],
        }
        (Path(own) / "task.yaml").write_text(json.dumps(task), "utf-8")  # JSON is YAML
        found = lm_eval.simple_evaluate(
            model=HFLM(pretrained=script.place, **model, device="cpu", dtype="bfloat16", batch_size=BATCH, max_length=512),
            tasks=["desks"],
            num_fewshot=shots,
            task_manager=TaskManager(include_path=own, include_defaults=False),
            bootstrap_iters=0,
        )
    return {"accuracy": found["results"]["desks"]["acc,none"]}


def tune_decoder(script: Script, *, lora: bool) -> Figures:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": f"{script.instruction}\n\n{row['text']}\nAnswer:", "completion": f" {row['label']}"} for row in script.train]
    with tempfile.TemporaryDirectory(dir=script.folder) as out:
        settings = SFTConfig(
            output_dir=out,
            completion_only_loss=True,
            max_length=512,
            per_device_train_batch_size=BATCH,
            max_steps=script.steps,
            learning_rate=3e-3 if lora else 2e-4,
            bf16=True,
            gradient_checkpointing=False,
            **PLAIN,
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(script.place, attn_implementation=script.attention),
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(script.place),
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear") if lora else None,
        )
        trainer.train()
        trainer.save_model(out)
        if lora:
            return asked(script, 0, peft=out)
        script.place = out
        return asked(script, 0)


def tune_encoder(script: Script, *, lora: bool) -> Figures:
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(script.place)
    train, test = (
        Dataset.from_dict(
            {"input_ids": tokenizer([row["text"] for row in rows], truncation=True)["input_ids"], "labels": script.numbers(rows)}
        )
        for rows in (script.train, script.test)
    )
    model = AutoModelForSequenceClassification.from_pretrained(
        script.place, num_labels=len(script.labels), attn_implementation=script.attention
    )
    if lora:
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["Wqkv", "Wo", "Wi"]))
    with tempfile.TemporaryDirectory(dir=script.folder) as out:
        settings = TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=BATCH,
            max_steps=script.steps,
            learning_rate=3e-3 if lora else 2e-4,
            bf16=True,
            train_sampling_strategy="group_by_length",
            **PLAIN,
        )
        trainer = Trainer(model=model, args=settings, train_dataset=train, data_collator=DataCollatorWithPadding(tokenizer))
        trainer.train()
        found = trainer.predict(test)  # in an order of its own, by length
        return {"accuracy": statistics.fmean((found.predictions.argmax(-1) == found.label_ids).tolist())}


def probe(script: Script) -> Figures:
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(script.place)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModel.from_pretrained(script.place, dtype=torch.bfloat16).eval()

    def read(rows: list[dict[str, str]]) -> Any:
        parts = []
        for at in range(0, len(rows), BATCH):
            texts = [row["text"] for row in rows[at : at + BATCH]]
            given = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, return_token_type_ids=False)
            with torch.no_grad():
                hidden = model(**given).last_hidden_state.float()
            mask = given["attention_mask"][..., None]
            parts.append((hidden * mask).sum(1) / mask.sum(1))
        return torch.cat(parts).numpy()

    fitted = LogisticRegression(max_iter=1000).fit(read(script.train), script.numbers(script.train))
    return script.accuracy(fitted.predict(read(script.test)).tolist())


def child(what: str, run: argparse.Namespace) -> Figures:
    """What a child process does."""
    if what == "build":
        build(run.folder)
        return {}
    script = Script(run)
    if what in ("zero_shot", "few_shot"):
        return asked(script, SHOTS if what == "few_shot" else 0)
    if what == "linear_probe":
        return probe(script)
    tune = tune_encoder if run.base == "pocket-encoder" else tune_decoder
    return tune(script, lora=what == "lora")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    run = parser.parse_args()
    if run.child:
        own = {"base": "", "steps": 0, "attention": "sdpa", **run.settings}
        own["folder"] = Path(own["folder"])
        print(json.dumps(child(run.child, argparse.Namespace(**own))))
        return
    host = machine("torch", "transformers", "trl", "peft", "lm_eval")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contestant(HERE, "build", folder=folder)
        steps = climb(folder)["steps"]  # not timed: it says how many steps the scripts make
        print(f"steps: {steps}", file=sys.stderr, flush=True)
        attention = faster(folder)
        print(f"attention: {attention}", file=sys.stderr, flush=True)
        runs = alternating(run.pairs, {"theirs": lambda: scripts(folder, steps, attention), "ours": lambda: climb(folder)})
    for own in runs:
        print(f"{own['contestant']}: {own['seconds']:.1f} s", file=sys.stderr)
    times = {who: statistics.median(own["seconds"] for own in runs if own["contestant"] == who) for who in ("theirs", "ours")}
    # of seconds, theirs over ours
    summary = {
        "pairs": run.pairs,
        "seconds": times,
        "speed_ratio": {**ratio(runs, "seconds", of="theirs", to="ours"), "wanted": 5.0},
    }
    write(run.out, {"summary": summary, "machine": host, "steps": steps, "attention": attention, "runs": runs})
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
