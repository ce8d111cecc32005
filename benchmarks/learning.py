"""What is learned from rewards, and at what price: methods side by side on one small model, and the table of a lecture.

    TUNELADDER_SHARED=/data/root python benchmarks/learning.py [PART ...] [--seeds 0,1,2] [--size full] [--out FILE]
    python benchmarks/learning.py --table     # what was measured, as Markdown

    methods   grpo, rest, ppo, dpo, and TRL's GRPOTrainer make stories more cheerful, from as many answers of the policy's own each:
              dpo's pairs are the best and the worst of those to a prompt. How far the reward of answers to other prompts rises, in
              standard deviations of the base's; the KL, nats an answer; seconds and memory. Those of ours that write anew stop at
              4.5 nats, and of a phase beyond keep the one before; dpo and TRL know no limit. grpo comes again at half of its rate,
              dpo with a beta and a rate that keep it nearer.
    judged    ours again, but what an answer earns is said by a reward model, `teacher`, that learned from half of some pairs of
              which the more cheerful was preferred; by how much the reward rises is said by one of the other half, `unseen`, that
              no policy met. Beside it stand what the teacher says, and the rule.
    lecture   the table of arXiv:2308.08998: behaviour cloning (G=0, I=0), ReST with G=1 I=0, G=1 I=4 and G=2 I=3, and online RL
              from as many answers as the last. Rows of mixed quality end stories; what is aimed at is scored by a rule.

The model is `tiny1m`, which knows children's stories, in float32 on one thread. Each run is a process of its own; its seconds are
those of the method alone, its peak has the imports too. Held-out answers, which `rest` and `dpo` look at, are not counted among
those that are learned from. Raw figures go to benchmarks/results/learning.json as they are made; what is there already is kept.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pairs import Figures, as_child, contestant, machine, now, peak, since, tell, write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "learning.json"

Marks = Callable[[Sequence[str], Sequence[str]], list[float]]  # prompts and an answer to each -> what each answer earns

ANIMALS = ("cat", "dog", "bird", "bear", "fox", "mouse", "frog", "duck")
NAMES = ("Tom", "Lily", "Max", "Sue", "Ben", "Mia", "Sam", "Amy", "Tim", "Anna")
THINGS = ("ball", "box", "hat", "kite", "cake", "stone", "book", "shell", "drum", "flower")
CHEERFUL = frozenset(
    [
        *("happy", "glad", "joy", "fun", "nice", "good", "kind", "together", "friend", "friends"),
        *("smile", "smiled", "laugh", "laughed", "play", "played", "love", "loved", "hug", "hugged"),
    ]
)
MOST = 8  # cheerful words of an answer that count
ENDINGS = (  # two of them do what is aimed at, one in part, the rest do not
    "{name} was happy with the {thing} and played with a friend. The end.",
    "{name} loved the {thing} and had fun. The end.",
    "{name} took the {thing} home.",
    "It was a big day. The end.",
    "They all went home.",
    "It was cold and dark.",
)


def cheer(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """How many words of an answer are cheerful, as a share of those that count."""
    return [min(MOST, sum(word in CHEERFUL for word in re.findall(r"[a-z]+", text.lower()))) / MOST for text in completions]


def ended(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """How far an answer ends the story: it names who it is about and what was found, is cheerful, and says that this is the end."""
    found = []
    for prompt, text in zip(prompts, completions, strict=True):
        name, thing = re.findall(r"named (\w+)\.", prompt)[-1], re.findall(r"found a (\w+)\.", prompt)[-1]
        words = set(re.findall(r"[a-z]+", text.lower()))
        parts = (name.lower() in words, thing in words, bool(words & CHEERFUL), text.rstrip().endswith("The end."))
        found.append(sum(parts) / len(parts))
    return found


def stories() -> list[dict[str, str]]:
    """Every story that begins, in an order that no seed changes."""
    every = [{"animal": animal, "name": name, "thing": thing} for animal in ANIMALS for name in NAMES for thing in THINGS]
    random.Random(0).shuffle(every)
    return every


def opening(story: Mapping[str, str]) -> str:
    return (
        f"Once upon a time, there was a little {story['animal']} named {story['name']}. One day, {story['name']} found a"
        f" {story['thing']}."
    )


SIZES = {
    "small": {"train": 16, "held": 8, "samples": 4, "phases": 4, "prompts": 4, "updates": 4, "tokens": 16, "each": 1},
    "middle": {"train": 64, "held": 32, "samples": 8, "phases": 12, "prompts": 4, "updates": 10, "tokens": 32, "each": 4},
    "full": {"train": 192, "held": 64, "samples": 8, "phases": 24, "prompts": 8, "updates": 20, "tokens": 48, "each": 4},
}
MOST_KL = 4.5  # nats an answer, at which a method that can be told so stops: other answers go a little farther than its own


def openings() -> list[Any]:
    """A row for every story that begins, with an ending drawn from those there are, good or not."""
    from tuneladder.types import Example, Turn

    draw = random.Random(1)
    return [
        Example(f"story {at}", (Turn("text", opening(story)),), (" " + draw.choice(ENDINGS).format(**story),), source=f"story {at}")
        for at, story in enumerate(stories())
    ]


def task_of(size: Mapping[str, int]) -> Any:
    from tuneladder.types import Prompt, Split, Task

    rows, train, held = openings(), size["train"], size["held"]
    split = Split(tuple(rows[:train]), tuple(rows[train : train + held]), tuple(rows[train + held : train + 2 * held]))
    return Task("stories", "generate", examples=split, prompt=Prompt(), metric="rouge_l")


def model() -> Path:
    return Path(os.environ.get("TUNELADDER_SHARED", HERE.parents[2] / "shared")) / "models" / "tiny1m"


class Table:
    """A base with its task, what lends it and where things are made, for one seed."""

    def __init__(self, run: argparse.Namespace, folder: Path) -> None:
        import torch

        from tuneladder.ladder.tree import root_of
        from tuneladder.model.inspect import inspect
        from tuneladder.model.shelf import Shelf
        from tuneladder.store import Store

        self.size, self.seed, self.folder = SIZES[run.size], run.seed, folder
        self.task = task_of(self.size)
        self.root = root_of(inspect(str(model())), self.task)
        self.shelf, self.store = Shelf("cpu", dtype=torch.float32), Store(folder / "store")

    def kit(self, name: str) -> Any:
        from tuneladder.types import Kit

        place = self.folder / name
        place.mkdir()
        return Kit(place, self.store, self.seed, "cpu", None, None, self.shelf)

    def answers(self, variant: Any, rows: Sequence[Any], each: int) -> list[list[Any]]:
        """`each` answers to each row, with their tokens."""
        from tuneladder.types import Decoding

        decoding = Decoding(max_new_tokens=self.size["tokens"], temperature=1.0, samples=each, seed=1000 + self.seed)
        with self.shelf.engine(variant) as engine:
            return engine.write_out([row.turns for row in rows], decoding)

    def logs(self, variant: Any, answers: Sequence[Any]) -> list[float]:
        """What the variant says of each answer, nats."""
        import torch

        found = []
        with self.shelf.live(variant) as live, torch.no_grad():
            for own in answers:
                ids = torch.tensor([[*own.prompt, *own.ids]])
                said = torch.log_softmax(live.model(input_ids=ids, use_cache=False).logits[0, len(own.prompt) - 1 : -1].float(), -1)
                found.append(float(said.gather(1, ids[0, len(own.prompt) :, None]).sum()))
        return found

    def measured(self, variant: Any, reference: Any, reward: Marks, **others: Marks) -> Figures:
        """What answers to other prompts earn, by the reference and by the variant, and how far this has gone; by how much it rises
        by other rewards, too."""
        rows = self.task.examples.test
        prompts = [row.turns[-1].text for row in rows for _ in range(self.size["each"])]
        before, after = (
            [each for group in self.answers(own, rows, self.size["each"]) for each in group] for own in (reference, variant)
        )
        kl = [own - other for own, other in zip(self.logs(variant, after), self.logs(reference, after), strict=True)]
        rises = {}
        for name, marks in {"": reward, **others}.items():
            first, last = (marks(prompts, [each.text for each in written]) for written in (before, after))
            middle, spread = statistics.fmean(first), statistics.pstdev(first)
            found = {"reward_before": middle, "spread_before": spread, "reward": statistics.fmean(last)}
            found["rise"] = (found["reward"] - middle) / spread if spread else None
            rises |= {f"{key}_{name}" if name else key: value for key, value in found.items()}
        return {**rises, "kl": statistics.fmean(kl), "answers": len(after), "sample": after[0].text}


def made_by(run: argparse.Namespace, method: Method, reward: Marks, **others: Marks) -> Figures:
    """A method's variant, measured beside its reference."""
    with tempfile.TemporaryDirectory() as place:
        table = Table(run, Path(place))
        began = now()
        made = method(table)
        wall, processor = since(began)
        cost = {"seconds": wall, "processor_seconds": processor, "peak_bytes": peak()}
        learned = {"samples": made.samples, "stopped": made.stopped}
        return {"seed": run.seed, **table.measured(made.variant, made.reference, reward, **others), **cost, **learned}


@dataclass(frozen=True)
class Learned:
    """A variant that learned, what it is measured against, how many answers it learned from, and why it ended early, if it did."""

    variant: Any
    reference: Any
    samples: int
    stopped: str = ""


Method = Callable[[Table], Learned]


def from_answers(variant: Any, reference: Any, folder: Path, *, each: int, steps: int) -> Learned:
    """What the log in the folder says of a policy that learned from `each` answers in every phase of so many steps."""
    from tuneladder.train.loop import read_log

    last = read_log(folder)[-1]
    return Learned(variant, reference, each * -(-last.step // steps), "" if last.stopped == "done" else last.stopped)


# ---- methods ----


def online(table: Table, name: str, reward: str, **settings: Any) -> Any:
    """The step of that name, of those that write anew in each phase, at our sizes."""
    from tuneladder.recipe import find_step

    kind, size = find_step(name), table.size
    wanted = {"reward": reward, **settings, **{key: size[key] for key in ("phases", "prompts", "samples", "tokens")}}
    return kind(**{key: value for key, value in wanted.items() if key in {field.name for field in fields(kind)}})


def learned_online(table: Table, name: str, reward: str, reference: Any, **settings: Any) -> Learned:
    step, kit = online(table, name, reward, **settings), table.kit(name)
    made = step.apply(reference, table.task, kit)
    return from_answers(made, reference, kit.folder, each=step.prompts * step.samples, steps=step.updates)


def learned_slowly(table: Table, reward: str) -> Learned:
    """By grpo at half of its rate: of a phase that goes too far it keeps the one before, and shorter phases end nearer."""
    from tuneladder.train.preference import rate_of
    from tuneladder.tune.grpo import Grpo

    rate = rate_of(Grpo(reward=reward), table.root, times=0.5)
    return learned_online(table, "grpo", reward, table.root, most_kl=MOST_KL, learning_rate=rate)


def learned_resting(table: Table, reference: Any, **settings: Any) -> Learned:
    """By `rest`, with half of the answers to be written in each of two grows."""
    from tuneladder.tune.rest import Rest

    size, kit = table.size, table.kit("rest")
    own = {"prompts": size["phases"] * size["prompts"] // 2, "held_out": size["held"], "updates": size["updates"]}
    step = Rest(**{**own, "samples": size["samples"], "tokens": size["tokens"], **settings})
    made = step.apply(reference, table.task, kit)
    return from_answers(made, reference, kit.folder, each=step.prompts * step.samples, steps=step.stages * step.updates)


def learned_by_rest(table: Table, reward: str) -> Learned:
    return learned_resting(table, table.root, reward=reward, data=False, most_kl=MOST_KL)


def learned_by_dpo(table: Table, marks: Marks, **settings: Any) -> Learned:
    """Of the base's answers to a prompt the best is chosen and the worst rejected, where they differ."""
    from tuneladder.tune.dpo import Dpo
    from tuneladder.types import Comparison, Split

    pairs: dict[str, list[Any]] = {}
    samples = 0
    for split in ("train", "dev"):
        rows = getattr(table.task.examples, split)
        for row, group in zip(rows, table.answers(table.root, rows, table.size["samples"]), strict=True):
            texts = [own.text for own in group]
            samples += len(texts) * (split == "train")
            earned = marks([row.turns[-1].text] * len(texts), texts)
            ranked = sorted(zip(earned, texts, strict=True))
            if ranked[0][0] < ranked[-1][0]:
                pair = Comparison(row.id, row.turns, " " + ranked[-1][1], " " + ranked[0][1], source=row.source)
                pairs.setdefault(split, []).append(pair)
    comparisons = Split(tuple(pairs["train"]), tuple(pairs["dev"]), ())
    task = replace(table.task, kind="prefer", metric="preference", comparisons=comparisons)
    return Learned(Dpo(**settings).apply(table.root, task, table.kit("dpo")), table.root, samples)


def learned_held_back(table: Table, marks: Marks) -> Learned:
    """By dpo at three times its beta and a quarter of its rate."""
    from tuneladder.train.preference import rate_of
    from tuneladder.tune.dpo import Dpo

    return learned_by_dpo(table, marks, beta=0.3, learning_rate=rate_of(Dpo(), table.root, times=0.25))


def learned_by_trl(table: Table) -> Learned:
    """TRL's GRPOTrainer, with what our grpo is told."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer
    from works import PLAIN_TRAINER

    from tuneladder.train.preference import rate_of

    size, ours = table.size, online(table, "grpo", "learning:cheer")

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return cheer(prompts, completions)

    settings = GRPOConfig(
        output_dir=str(table.folder / "trl"),
        per_device_train_batch_size=size["prompts"] * size["samples"],
        num_generations=size["samples"],
        max_completion_length=size["tokens"],
        max_steps=size["phases"],
        learning_rate=rate_of(ours, table.root),
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(ours.warmup * size["phases"])),
        beta=ours.beta,
        epsilon=ours.clip,
        loss_type="grpo",
        scale_rewards="group",
        temperature=1.0,
        bf16=False,
        gradient_checkpointing=False,
        **{**PLAIN_TRAINER, "seed": table.seed},
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model(), dtype=torch.float32),
        reward_funcs=reward,
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": row.turns[-1].text} for row in table.task.examples.train]),
        processing_class=AutoTokenizer.from_pretrained(model()),
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear"),
    )
    trainer.train()
    place = table.folder / "theirs"
    trainer.save_model(str(place))
    samples = size["phases"] * size["prompts"] * size["samples"]
    return Learned(replace(table.root, steps=("trl",), adapter=str(place)), table.root, samples)


def ours(reward: str, marks: Marks) -> dict[str, Method]:
    """The methods of ours, for what answers earn: by the name of the reward, and what it says."""
    return {
        "grpo": lambda table: learned_online(table, "grpo", reward, table.root, most_kl=MOST_KL),
        "grpo (held back)": lambda table: learned_slowly(table, reward),
        "ppo": lambda table: learned_online(table, "ppo", reward, table.root, most_kl=MOST_KL),
        "rest": lambda table: learned_by_rest(table, reward),
        "dpo": lambda table: learned_by_dpo(table, marks),
        "dpo (held back)": lambda table: learned_held_back(table, marks),
    }


def methods() -> dict[str, Method]:
    return {**ours("learning:cheer", cheer), "TRL's GRPO": learned_by_trl}


# ---- judged ----

JUDGES = {"teacher": "a", "unseen": "b"}  # halves of the pairs


def judges_child(run: argparse.Namespace) -> Figures:
    """The folders of two reward models, each of half of some pairs, and how often they are right of pairs held out."""
    from tuneladder import climb, load

    table = Table(run, run.folder / "work")
    rows = openings()[table.size["train"] + 2 * table.size["held"] :][: 5 * table.size["train"] // 2]
    pairs = []
    for row, group in zip(rows, table.answers(table.root, rows, 2 * table.size["samples"]), strict=True):
        prompt, texts = row.turns[-1].text, [own.text for own in group]
        for one, other in zip(texts[::2], texts[1::2], strict=True):
            marks = cheer([prompt] * 2, [one, other])
            if marks[0] != marks[1]:
                better, worse = (one, other) if marks[0] > marks[1] else (other, one)
                pairs.append({"prompt": prompt, "chosen": better, "rejected": worse})
    (run.folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
    recipe = {
        "name": "judges",
        "seed": run.seed,
        "task": {"kind": "prefer", "data": str(run.folder / "pairs.jsonl")},
        "base": str(model()),
        "rungs": [{"reward": {"half": half, "epochs": 4}} for half in JUDGES.values()],
    }
    (run.folder / "judges.yaml").write_text(json.dumps(recipe), "utf-8")  # JSON is YAML
    results = climb(load(run.folder / "judges.yaml"), out=run.folder / "judges").results
    made = {name: next(own for own in results if f"half={half}" in own.rung.name) for name, half in JUDGES.items()}
    right = {name: own.test.quality["preference"] for name, own in made.items()}
    return {
        "seed": run.seed,
        "pairs": len(pairs),
        "folders": {name: own.variant.adapter for name, own in made.items()},
        "right": {name: [score.value, score.low, score.high, score.count] for name, score in right.items()},
    }


@contextmanager
def by_model(folder: str) -> Iterator[Marks]:
    """What a reward model says of answers, as long as it is open."""
    import torch

    from tuneladder.model.nodes import read_variant
    from tuneladder.model.shelf import Shelf
    from tuneladder.train.reward_model import opened
    from tuneladder.types import Example, Turn

    with opened(read_variant(Path(folder)), Shelf("cpu", dtype=torch.float32), None) as said:

        def marks(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
            return said([Example(str(at), (Turn("text", prompt),), ("",)) for at, prompt in enumerate(prompts)], completions)

        yield marks


# ---- lecture ----

LECTURE: dict[str, dict[str, Any]] = {
    "behaviour cloning (G=0, I=0)": {},
    "ReST (G=1, I=0)": {"grows": 1, "improves": 0},
    "ReST (G=1, I=4)": {"grows": 1, "improves": 4},
    "ReST (G=2, I=3)": {"grows": 2, "improves": 3},
    "online RL (grpo)": {},
}


def taught(table: Table, row: str) -> Learned:
    """A row of the table. Each begins with behaviour cloning, as the paper's do, and has its KL from there; what I=0 clones, it
    clones in as many steps as four improves take."""
    from tuneladder.tune.lora import Lora

    cloned = Lora(epochs=4, batch_size=16).apply(table.root, table.task, table.kit("cloned"))
    if row.startswith("behaviour"):
        return Learned(cloned, cloned, 0)
    if row.startswith("online"):
        return learned_online(table, "grpo", "learning:ended", cloned)
    settings = {"reward": "learning:ended", "patience": 0, **LECTURE[row]}
    if not settings["improves"]:
        settings["updates"] = 4 * table.size["updates"]
    return learned_resting(table, cloned, **settings)


# ---- what comes of it ----


def methods_child(run: argparse.Namespace) -> Figures:
    return made_by(run, methods()[run.name], cheer)


def judged_child(run: argparse.Namespace) -> Figures:
    with by_model(run.teacher) as teacher, by_model(run.unseen) as unseen:
        return made_by(run, ours(run.teacher, teacher)[run.name], unseen, teacher=teacher, rule=cheer)


def lecture_child(run: argparse.Namespace) -> Figures:
    return made_by(run, lambda table: taught(table, run.name), ended)


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half of its 95 % interval by Student's t over the seeds."""
    from scipy.stats import t

    middle = statistics.fmean(values)
    if len(values) < 2:
        return middle, None
    return middle, float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5


COLUMNS = {
    "reward": ("reward", 3, 1.0),
    "rise": ("rise, SD", 2, 1.0),
    "rise_teacher": ("by the teacher", 2, 1.0),
    "rise_rule": ("by the rule", 2, 1.0),
    "kl": ("KL, nats an answer", 2, 1.0),
    "samples": ("answers learned from", 0, 1.0),
    "processor_seconds": ("processor seconds", 1, 1.0),
    "peak_bytes": ("peak, GB", 2, 1e-9),
}


def markdown(found: Figures) -> str:
    """The tables of what was measured: means over the seeds with their 95 % intervals."""

    def cell(runs: Sequence[Figures], column: str) -> str:
        values = [run[column] for run in runs if run[column] is not None]
        if not values:
            return ""
        _, places, unit = COLUMNS[column]
        middle, half = interval(values)
        shown = f"{middle * unit:,.{places}f}"
        return shown if half is None or len(set(values)) == 1 else f"{shown} ±{half * unit:,.{places}f}"

    lines = []
    for part in ("methods", "judged", "lecture"):
        if not (rows := found.get(part)):
            continue
        before = [run for runs in rows.values() for run in runs]
        first = f"{part}; before: reward {interval([run['reward_before'] for run in before])[0]:.3f}"
        columns = [column for column in COLUMNS if any(column in run for run in before)]
        heads = ["seeds", *(COLUMNS[column][0] for column in columns), "ended early"]
        lines += [f"| {first} | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
        for name, runs in rows.items():
            early = Counter(filter(None, (run.get("stopped", "") for run in runs)))
            cells = [
                str(len(runs)),
                *(cell(runs, column) for column in columns),
                ", ".join(f"{why} {n}" for why, n in early.items()),
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


@contextmanager
def judges(run: argparse.Namespace, found: Figures, seed: int) -> Iterator[dict[str, str]]:
    """The folders of a teacher and of an unseen judge, as long as it is open; what they know goes to the figures."""
    with tempfile.TemporaryDirectory() as place:
        made = contestant(HERE, "judges", seed=seed, size=run.size, folder=place)
        folders = made.pop("folders")
        found["judges"] = [*(own for own in found.get("judges", []) if own["seed"] != seed), made]
        tell("judges", f"seed {seed}: {made}")
        yield folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"methods": list(methods()), "judged": list(ours("", cheer)), "lecture": list(LECTURE)}
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; all if none is named")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--size", choices=SIZES, default="full", help="small is a rehearsal")
    parser.add_argument("--table", action="store_true", help="only show what was measured")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    run = parser.parse_args()
    children = {"methods": methods_child, "judges": judges_child, "judged": judged_child, "lecture": lecture_child}
    if as_child(run, children):
        return
    found: Figures = json.loads(run.out.read_text("utf-8")) if run.out.exists() else {}
    if run.table:
        print(markdown(found))
        return
    if strange := [part for part in run.parts if part not in parts]:
        parser.error(f"no part '{strange[0]}'; there are {', '.join(parts)}")
    found["machine"] = machine("torch", "transformers", "peft", "trl")
    found["sizes"] = SIZES[run.size]
    for seed in map(int, run.seeds.split(",")):
        for part in run.parts or parts:
            rows = found.setdefault(part, {})
            missing = [name for name in parts[part] if all(own["seed"] != seed for own in rows.get(name, []))]
            with judges(run, found, seed) if part == "judged" and missing else nullcontext({}) as given:
                for name in missing:
                    runs = rows.setdefault(name, [])
                    runs.append(contestant(HERE, part, name=name, seed=seed, size=run.size, **given))
                    tell(part, f"seed {seed} {name}: {runs[-1]}")
                    write(run.out, found)
    print(markdown(found))


if __name__ == "__main__":
    sys.exit(main())
