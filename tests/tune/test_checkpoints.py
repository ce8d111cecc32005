"""Real checkpoints, trained by others than us, tuned by every step: what is saved answers the same under plain transformers and
PEFT, merged too. Skipped where the shared folder is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tuneladder.ladder.tree import root_of
from tuneladder.model.adapters import open_adapter, opened_by_peft
from tuneladder.model.ask import turns_of
from tuneladder.model.attach import merged
from tuneladder.model.inspect import inspect
from tuneladder.task.encode import Coder
from tuneladder.tune.adapter import Adapter
from tuneladder.tune.full import Full
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.lora import Lora
from tuneladder.tune.prefix_tuning import PrefixTuning
from tuneladder.tune.prompt_tuning import PromptTuning
from tuneladder.tune.selective import Selective
from tuneladder.types import Pace, Split

BRIEF = {"epochs": 1, "batch_size": 4, "learning_rate": 5e-3}
STEPS = {
    "adapter": Adapter(r=4, **BRIEF),
    "dora": Lora(r=4, dora=True, **BRIEF),
    "full": Full(**BRIEF),
    "ia3": Ia3(**BRIEF),
    "lora": Lora(r=4, **BRIEF),
    "prefix_tuning": PrefixTuning(tokens=4, **BRIEF),
    "prompt_tuning": PromptTuning(tokens=4, **BRIEF),
    "selective": Selective(**BRIEF),
}
CASES = [(name, step) for name in ("stories260K", "tiny1m") for step in STEPS] + [("stories15M_relearned", "lora")]


def said_by(model, coder, variant, task):
    """The log-probability of each label of each row, one text at a time."""
    found = []
    for row in task.examples.dev:
        for label in task.labels:
            encoded = coder.encode(turns_of(variant.prompt, row), label, close=False)
            ids = torch.tensor([encoded.ids])
            with torch.no_grad():
                logs = torch.log_softmax(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0], -1)[
                    -len(encoded.ids) :
                ]
            found.append(sum(float(logs[at - 1, ids[0, at]]) for at, learn in enumerate(encoded.learn) if learn))
    return found


@pytest.mark.parametrize(("name", "step"), CASES)
def test_what_is_made_of_a_real_checkpoint_is_opened_by_others(name, step, shared, tiny_task, lend, tmp_path):
    folder = shared / "models" / name
    if not folder.is_dir():
        pytest.skip(f"no checkpoint {name} in {folder.parent}")
    rows = tiny_task.examples
    task, kit = replace(tiny_task, examples=Split(rows.train[:8], rows.dev[:2], ())), lend()
    root = root_of(inspect(str(folder)), task)
    STEPS[step].plan(root, task, Pace(1e9))
    variant = STEPS[step].apply(root, task, kit)
    with kit.shelf.engine(variant) as engine:
        scores = engine.score([turns_of(variant.prompt, row) for row in task.examples.dev], [task.labels] * 2)
        coder = Coder(engine.coder.tokenizer, engine.coder.context)
    ours = [score for row in scores for score in row]
    plain = AutoModelForCausalLM.from_pretrained(variant.weights or folder, dtype=torch.float32).eval()
    if variant.adapter and not opened_by_peft(variant.adapter):
        plain, _ = open_adapter(plain, variant.adapter)
    elif variant.adapter:
        plain = PeftModel.from_pretrained(plain, variant.adapter).eval()
    assert said_by(plain, coder, variant, task) == pytest.approx(ours, abs=5e-4)
    if step in ("lora", "dora", "ia3"):
        merged(plain).save_pretrained(tmp_path / "merged")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        assert said_by(again, coder, variant, task) == pytest.approx(ours, abs=5e-4)
