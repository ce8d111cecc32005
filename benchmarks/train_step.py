"""Our training step beside TRL + PEFT: examples per second and peak memory, on the same rows, in one run.

The model is a Llama of 135M parameters with random weights (30 layers, width 576, 9 heads, 3 key-value heads, vocabulary 49152),
tuned with LoRA r=8 on q and v; rows have prompts of about 58 tokens and 2 learned tokens, the end token being one of them.

    1. losses    both losses on the same batch and the same adapter, in bf16 and fp32
    2. grid      TRL in {fp32, bf16} x {sdpa, eager} x {random, grouped by length}, once each; its best is kept, also when
                 its default, gradient checkpointing, turns out to be faster
    3. pairs     TRL's best and ours, alternating, each run in a process of its own

Raw figures go to benchmarks/results/train_step.json. `python benchmarks/train_step.py --pairs 1 --steps 3` is a rehearsal.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import argparse
import json
import math
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "train_step.json"
VOCABULARY = 49152
BATCH = 16
WARM_UP = 2  # steps whose seconds are left out
GRID_STEPS = 4  # of each of TRL's settings, when its best is sought
SEED = 0
LEARNING_RATE = 2e-4
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
END, UNKNOWN = "<|end|>", "<|unknown|>"


def rows(count: int) -> list[dict[str, str]]:
    """Prompts of 28-88 random words (58 on average) and completions of one; a word is a token."""
    draw = random.Random(SEED)

    def words(n: int) -> str:
        return " ".join(f"w{draw.randrange(VOCABULARY - 2)}" for _ in range(n))

    return [{"prompt": words(draw.randint(28, 88)), "completion": " " + words(1)} for _ in range(count)]


def build(folder: Path) -> None:
    """Save the model in fp32 and in bf16, with a tokenizer of one token a word, and a LoRA whose B is not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = [UNKNOWN, END, *(f"w{i}" for i in range(VOCABULARY - 2))]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN, eos_token=END, pad_token=END)
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **LORA))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    tuned.save_pretrained(folder / "adapter")
    model = tuned.unload()
    for dtype in (torch.float32, torch.bfloat16):
        target = folder / str(dtype).removeprefix("torch.")
        model.to(dtype).save_pretrained(target)
        fast.save_pretrained(target)


def load(folder: Path, dtype: str, attention: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = folder / dtype
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), attn_implementation=attention)
    return model, AutoTokenizer.from_pretrained(path)


def trl_trainer(model: Any, tokenizer: Any, run: argparse.Namespace, folder: Path, callbacks: list[Any]) -> Any:
    """TRL as its documentation sets it up; `model` may already be a PEFT model."""
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(
        output_dir=str(folder / "trl"),
        completion_only_loss=True,
        per_device_train_batch_size=BATCH,
        max_steps=run.steps,
        learning_rate=LEARNING_RATE,
        train_sampling_strategy="group_by_length" if run.grouped else "random",
        bf16=run.dtype == "bfloat16",
        use_cpu=True,
        gradient_checkpointing=run.checkpointing,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=SEED,
    )
    return SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows(run.steps * BATCH)),
        processing_class=tokenizer,
        peft_config=None if isinstance(model, PeftModel) else LoraConfig(task_type="CAUSAL_LM", **LORA),
        callbacks=callbacks,
    )


def run_trl(run: argparse.Namespace) -> dict[str, Any]:
    from transformers import TrainerCallback

    ends: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(now())

    model, tokenizer = load(run.folder, run.dtype, run.attention)
    trainer = trl_trainer(model, tokenizer, run, run.folder, [Clock()])
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return figures(ends, losses)


def run_ours(run: argparse.Namespace) -> dict[str, Any]:
    """Our loop, with what the lora step would choose for these rows on this machine: dtype, attention, micro-batch."""
    import torch

    from tuneladder.model import memory
    from tuneladder.model.attach import attach_lora
    from tuneladder.model.hardware import has_bf16
    from tuneladder.model.inspect import inspect
    from tuneladder.model.lanes import lanes_for
    from tuneladder.model.packed import pack
    from tuneladder.train.batches import Rows, bundle, side_by_side
    from tuneladder.train.loop import Course, train
    from tuneladder.train.losses import next_token

    half = has_bf16("cpu")
    dtype = "bfloat16" if half else "float32"
    model, tokenizer = load(run.folder, dtype, "eager")
    model = attach_lora(model, r=LORA["r"], alpha=LORA["lora_alpha"], dropout=0.0, targets=LORA["target_modules"], seed=SEED)
    own = encoded(tokenizer, rows(run.steps * BATCH))
    longest = max(len(row.ids) for row in own)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    most = memory.micro_batch(inspect(str(run.folder / dtype)), trainable=trainable, length=longest, allowed=None, wanted=BATCH)
    lanes = lanes_for("cpu", trainable=trainable, model=model)
    cut = side_by_side if pack(model.get_base_model()) else bundle
    ends: list[tuple[float, float]] = []
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for tick in train(
            model,
            Rows(own, batch=BATCH, epochs=1, tokens=most * longest // lanes, seed=SEED, lanes=lanes, cut=cut),
            loss=next_token,
            course=Course(LEARNING_RATE),
            folder=Path(folder),
            seed=SEED,
            autocast=torch.bfloat16 if half else None,
            lanes=lanes,
        ):
            ends.append(now())
            losses.append(tick.loss)
    return {
        "dtype": dtype,
        "attention": model.config._attn_implementation,
        "micro_batch": most,
        "lanes": lanes,
        "packed": cut is side_by_side,
    } | figures(ends, losses)


def encoded(tokenizer: Any, texts: list[dict[str, str]]) -> list[Any]:
    """The tokens that TRL makes of the same rows: prompt, completion and end; the last two are learned."""
    from tuneladder.task.encode import Encoded

    made = []
    for row in texts:
        prompt, answer = tokenizer(row["prompt"])["input_ids"], tokenizer(row["completion"] + END)["input_ids"]
        made.append(Encoded(prompt + answer, [False] * len(prompt) + [True] * len(answer), 0))
    return made


def now() -> tuple[float, float]:
    """Wall-clock seconds, and processor seconds of this process, which a busy machine stretches less."""
    return time.perf_counter(), time.process_time()


def figures(ends: list[tuple[float, float]], losses: list[float]) -> dict[str, Any]:
    """What is reported of a run, given when each step ended; the steps of the warm-up are left out."""
    steps = list(pairwise(ends))[WARM_UP - 1 :]
    seconds = [later[0] - earlier[0] for earlier, later in steps]
    return {
        "examples_per_second": BATCH * len(seconds) / sum(seconds),
        "peak_bytes": peak(),
        "seconds_per_step": seconds,
        "processor_seconds_per_step": [later[1] - earlier[1] for earlier, later in steps],
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def peak() -> int:
    """The process's own highest resident memory, in bytes, from its start (Linux)."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmHWM here: this benchmark needs Linux")


def compare_losses(run: argparse.Namespace) -> dict[str, Any]:
    """Mean loss over the learned tokens of one batch, by our loss and by TRL's, on the same model and adapter."""
    import torch
    from peft import PeftModel

    from tuneladder.train.batches import pad
    from tuneladder.train.losses import next_token

    model, tokenizer = load(run.folder, run.dtype, run.attention)
    model = PeftModel.from_pretrained(model, run.folder / "adapter", is_trainable=True)
    model.train()
    own = encoded(tokenizer, rows(BATCH))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=run.dtype == "bfloat16")
    with torch.no_grad(), autocast:
        micro = pad(own)
        ours = float(next_token(model, micro)) / micro.learned
    # TRL's trainer patches the model it is given, so it comes second
    run.steps = 1
    trainer = trl_trainer(model, tokenizer, run, run.folder, [])
    theirs_rows = [trainer.train_dataset[at] for at in range(BATCH)]
    assert [row["input_ids"] for row in theirs_rows] == [row.ids for row in own], "the two sides do not train on the same tokens"
    with torch.no_grad(), autocast:
        theirs = float(trainer.compute_loss(trainer.model, trainer.data_collator(theirs_rows)))
    return {"trl": theirs, "ours": ours}


def child(folder: Path, what: str, **settings: Any) -> dict[str, Any]:
    """Run one contestant in a fresh process; its last line of output is its figures."""
    command = [sys.executable, str(HERE), "--child", what, "--folder", str(folder)]
    for name, value in settings.items():
        command += [f"--{name}"] if value is True else [] if value is False else [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])} failed:\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told = " ".join(str(value) if not isinstance(value, bool) else name * value for name, value in settings.items())
    if "examples_per_second" in figures:
        told += f"  {figures['examples_per_second']:.2f} examples/s  {figures['peak_bytes'] / 1e9:.2f} GB"
    print(f"{what:7}{told}", file=sys.stderr, flush=True)
    return {"contestant": what, **settings, **figures}


def interval(ratios: list[float]) -> dict[str, float | None]:
    """Geometric mean of the pairs' ratios with its 95 % interval (Student's t on the logarithms)."""
    from scipy.stats import t

    logs = [math.log(ratio) for ratio in ratios]
    middle = statistics.fmean(logs)
    half = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    if half == math.inf:
        return {"value": math.exp(middle), "low": None, "high": None}
    return {"value": math.exp(middle), "low": math.exp(middle - half), "high": math.exp(middle + half)}


def machine() -> dict[str, Any]:
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    packages = ("torch", "transformers", "peft", "trl", "accelerate")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in packages},
        **{name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="steps of a run, the first two of which warm up")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", choices=("build", "losses", "trl", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="bfloat16", help=argparse.SUPPRESS)
    parser.add_argument("--attention", default="eager", help=argparse.SUPPRESS)
    parser.add_argument("--grouped", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    run = parser.parse_args()
    if run.child:
        works = {"build": lambda run: build(run.folder) or {}, "losses": compare_losses, "trl": run_trl, "ours": run_ours}
        print(json.dumps(works[run.child](run)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        results = climb(Path(temporary), run.pairs, run.steps)
    run.out.parent.mkdir(parents=True, exist_ok=True)
    run.out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(json.dumps(results["summary"], indent=1))


def climb(folder: Path, pairs: int, steps: int) -> dict[str, Any]:
    host = machine()
    child(folder, "build")
    losses = [child(folder, "losses", dtype=dtype, attention="eager") for dtype in ("bfloat16", "float32")]
    grid = [
        child(folder, "trl", dtype=dtype, attention=attention, grouped=grouped, checkpointing=False, steps=min(steps, GRID_STEPS))
        for dtype in ("float32", "bfloat16")
        for attention in ("sdpa", "eager")
        for grouped in (False, True)
    ]

    def settings(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in ("dtype", "attention", "grouped", "checkpointing")}

    best = max(grid, key=lambda row: row["examples_per_second"])
    grid.append(child(folder, "trl", **settings(best) | {"checkpointing": True, "steps": min(steps, GRID_STEPS)}))
    best = max(grid, key=lambda row: row["examples_per_second"])
    runs = []
    for pair in range(pairs):
        # who goes first alternates too, so that a machine that slows down favours nobody
        for what in ("trl", "ours") if pair % 2 == 0 else ("ours", "trl"):
            runs.append({"pair": pair, **child(folder, what, steps=steps, **(settings(best) if what == "trl" else {}))})
    theirs, ours = ([row for row in runs if row["contestant"] == name] for name in ("trl", "ours"))
    by_pair = list(zip(sorted(theirs, key=lambda r: r["pair"]), sorted(ours, key=lambda r: r["pair"]), strict=True))
    summary = {
        "trl_best": settings(best),
        "speed_ratio": interval([b["examples_per_second"] / a["examples_per_second"] for a, b in by_pair]),
        "memory_ratio": interval([b["peak_bytes"] / a["peak_bytes"] for a, b in by_pair]),
        "trl": {
            "examples_per_second": statistics.median(r["examples_per_second"] for r in theirs),
            "peak_bytes": max(r["peak_bytes"] for r in theirs),
        },
        "ours": {
            "examples_per_second": statistics.median(r["examples_per_second"] for r in ours),
            "peak_bytes": max(r["peak_bytes"] for r in ours),
        },
        "loss_difference": {row["dtype"]: abs(row["trl"] - row["ours"]) for row in losses},
        "pairs": pairs,
    }
    return {"summary": summary, "machine": host, "batch": BATCH, "losses": losses, "grid": grid, "runs": runs}


if __name__ == "__main__":
    main()
