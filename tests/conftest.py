"""What every room's tests lean on: the tiny model, and the real checkpoints where they are there."""

from __future__ import annotations

import os
import shutil

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tuneladder.store import digest
from tuneladder.types import Base, Comparison, Decoding, Document, Example, Kit, Prompt, Split, Task, Text, Turn, Variant

if TYPE_CHECKING:
    from tuneladder.model.shelf import Shelf

PROSE = """The river runs past the mill and under the stone bridge. A heron stands in the shallows and waits.
Which of these fits the text: politics, sports, business, technology? Answer: sports
The team won the final by two goals, and the market fell three per cent. "Where did my parcel go?" she asked.
I was charged twice for the same order; please refund me. The minister said that the vote would be held in May.
A new phone has a faster chip, and its battery lasts for two days. Thank you, and have a good day!
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data and checkpoints; a test that needs it is skipped where it is not."""
    root = Path(os.environ.get("TUNELADDER_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()
    if not (root / "models").is_dir():
        pytest.skip(f"no shared checkpoints at {root} (set TUNELADDER_SHARED)")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a screen; a test that needs it is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium to open pages in")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a byte-level BPE trained on the fly: plain template, eos `<|end|>`, no bos."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False)
    core.train_from_iterator([PROSE], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


NARROW = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.2}
ATTENDING = {"num_attention_heads": 4, "max_position_embeddings": 512}
EXPERTS = {"num_key_value_heads": 2, "num_experts_per_tok": 2, "intermediate_size": 48}
SHAPES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "mixtral": ("Mixtral", NARROW | ATTENDING | EXPERTS | {"num_local_experts": 4, "sliding_window": None}),
    "qwen2_moe": (
        "Qwen2Moe",
        NARROW | ATTENDING | EXPERTS | {"num_experts": 4, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40},
    ),
    "mamba": ("Mamba", NARROW | {"state_size": 8}),
    "mamba2": ("Mamba2", NARROW | {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 16}),
    "gpt2": (
        "GPT2",
        {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    ),
    "neox": ("GPTNeoX", NARROW | ATTENDING | {"intermediate_size": 64}),
    "phi3": ("Phi3", NARROW | ATTENDING | {"num_key_value_heads": 2, "intermediate_size": 64}),
}


@pytest.fixture(scope="session")
def shaped(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a random decoder of two layers of a shape in SHAPES, once, with the tiny tokenizer."""
    import torch
    import transformers

    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name
            tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_folder)
            tokenizer.save_pretrained(made[name])
            kind, sizes = SHAPES[name]
            ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
            config = getattr(transformers, f"{kind}Config")(**sizes, **ends)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                transformers.AutoModelForCausalLM.from_config(config).float().save_pretrained(made[name])
        return made[name]

    return make


@pytest.fixture(scope="session")
def tiny_base(tiny_folder: Path) -> Base:
    from tuneladder.model.inspect import inspect

    return inspect(str(tiny_folder))


DESKS = {
    "parcels": (
        "Where did my parcel go?",
        "The parcel is late",
        "My parcel came broken",
        "No parcel came today",
        "When will it arrive?",
    ),
    "money": ("I was charged twice", "Please refund me", "The price is wrong", "My card was declined", "Send me the bill again"),
    "account": ("I cannot log in", "My password is lost", "Delete my account", "Change my name please", "The code never came"),
}


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    """Three desks, 30 rows to train on, the right desk compared with a wrong one, plain text besides: every step finds what it
    needs."""
    rows = [
        Example(f"{label} {number} {time}", (Turn("user", f"{text}{time}"),), (label,), source=f"{label} {number} {time}")
        for time in ("", " Thank you!", " It is urgent.", " Hello?")
        for label, texts in DESKS.items()
        for number, text in enumerate(texts)
    ]
    prompt = Prompt(
        instruction="Which desk? parcels, money, account", ask="score", parse="label", decoding=Decoding(max_new_tokens=6)
    )
    labels = tuple(DESKS)
    pairs = [
        Comparison(row.id, row.turns, row.references[0], labels[(labels.index(row.references[0]) + 1) % 3], source=row.source)
        for row in rows
    ]
    prose = [Document(line, "prose") for line in PROSE.splitlines()] * 4
    return Task(
        "desks",
        "classify",
        examples=Split(tuple(rows[:30]), tuple(rows[30:45]), tuple(rows[45:])),
        comparisons=Split(tuple(pairs[:30]), tuple(pairs[30:45]), tuple(pairs[45:])),
        text=Text(tuple(prose[:-4]), tuple(prose[-4:]), tuple(prose[-4:])),
        prompt=prompt,
        labels=labels,
        metric="macro_f1",
    )


@pytest.fixture(scope="session")
def tiny_encoder(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random two-layer encoder of a shape, with the head of its pretraining and a tokenizer trained on the task's prose."""
    from tuneladder.model.inspect import from_shape
    from tuneladder.model.root import root_base
    from tuneladder.store import Store

    shape = {"family": "encoder", "layers": 2, "width": 32, "heads": 4, "vocabulary": 320, "context": 128}
    return root_base(from_shape("tiny-encoder", shape), tiny_task, Store(tmp_path_factory.mktemp("encoder")), seed=0)


@pytest.fixture(scope="session")
def tiny_seq2seq(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random T5 of two layers a stack, with sentinels in a tokenizer trained on the task's prose."""
    from tuneladder.model.inspect import from_shape
    from tuneladder.model.root import root_base
    from tuneladder.store import Store

    shape = {"family": "seq2seq", "layers": 2, "width": 32, "heads": 4, "vocabulary": 420, "context": 128}
    return root_base(from_shape("tiny-seq2seq", shape), tiny_task, Store(tmp_path_factory.mktemp("seq2seq")), seed=0)


@pytest.fixture(scope="session")
def settled() -> None:
    """What the libraries made at import is never garbage: a collection, as after each borrowing, then takes no 200 ms."""
    import gc

    import peft  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture
def lend(tmp_path: Path, settled: None) -> Callable[..., Kit]:
    """Makes the kit that a ladder would lend: on the CPU, in float32, in a folder below the test's own."""
    import torch

    from tuneladder.model.shelf import Shelf
    from tuneladder.store import Store

    def make(name: str = "step", *, seed: int = 0, shelf: Shelf | None = None, deadline: float | None = None) -> Kit:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        store = Store(tmp_path / "store")
        return Kit(folder, store, seed, "cpu", deadline, None, shelf or Shelf("cpu", dtype=torch.float32))

    return make


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[Shelf, Variant], Mapping[str, object]]:
    """All of a lent model that a step could have changed: its parts, numbers, flags, modes, hooks, configs, and the tokenizer."""

    def take(shelf: Shelf, variant: Variant) -> Mapping[str, object]:
        with shelf.live(variant) as live:
            model = live.model
            return {
                "modules": {name: type(module).__name__ for name, module in model.named_modules()},
                "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
                "modes": {name: module.training for name, module in model.named_modules()},
                "hooks": {
                    name: {key: len(value) for key, value in vars(module).items() if "hooks" in key and value is not None}
                    for name, module in model.named_modules()
                },
                "weights": {
                    name: (weight.dtype, weight.requires_grad, weight.grad, digest(weight.detach().float().numpy().tobytes()))
                    for name, weight in [*model.named_parameters(), *model.named_buffers()]
                },
                "tied": model.get_output_embeddings().weight is model.get_input_embeddings().weight,
                "config": model.config.to_dict() | {"attention": model.config._attn_implementation},
                "generation": model.generation_config.to_dict() if model.can_generate() else None,
                "tokenizer": (
                    live.tokenizer.backend_tokenizer.to_str(),
                    live.tokenizer.padding_side,
                    live.tokenizer.special_tokens_map,
                ),
            }

    return take
