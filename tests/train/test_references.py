"""Numbers against references: TRL's loss, and what we save opened by plain PEFT and transformers."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tuneladder.model.ask import turns_of
from tuneladder.model.attach import merged
from tuneladder.model.inspect import inspect
from tuneladder.model.shelf import Shelf
from tuneladder.task.encode import Coder
from tuneladder.train.batches import bundle, pad
from tuneladder.train.losses import next_token
from tuneladder.tune.full import Full
from tuneladder.tune.lora import Lora
from tuneladder.types import Decoding, Variant

STEPS = {
    "lora": Lora(epochs=1, learning_rate=1e-2, batch_size=8, max_length=96),
    "full": Full(epochs=1, learning_rate=1e-3, batch_size=8, max_length=96),
}


@pytest.fixture(scope="module", params=["tiny", "tiny1m", "stories260K", "stories15M_relearned"])
def base(request, tmp_path_factory):
    if request.param == "tiny":
        return inspect(str(request.getfixturevalue("tiny_folder")))
    folder = request.getfixturevalue("shared") / "models" / request.param
    if not folder.is_dir():
        pytest.skip(f"no checkpoint {folder}")
    copy = tmp_path_factory.mktemp("checkpoint") / request.param  # the shared folder is not ours to write in
    shutil.copytree(folder, copy)
    return inspect(str(copy))


@pytest.fixture(params=["lora", "full"])
def made(request, base, tiny_task, lend):
    """A variant tuned a little, in float32, with some of its rows."""
    task = replace(
        tiny_task, examples=replace(tiny_task.examples, train=tiny_task.examples.train[:8], dev=tiny_task.examples.dev[:3])
    )
    root = Variant(base, task.prompt)
    kit = lend(request.param)
    return STEPS[request.param].apply(root, task, kit), task, kit


def plainly(variant):
    """The variant as anybody opens it who has never heard of us."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(variant.weights or variant.base.location, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, variant.adapter) if variant.adapter else model).eval()


def test_what_we_saved_answers_the_same_everywhere(made):
    from transformers import AutoTokenizer

    variant, task, kit = made
    names = {path.name for path in Path(kit.folder).iterdir()}
    weights = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names >= ({"adapter_config.json", "adapter_model.safetensors"} if variant.adapter else weights)
    assert not any("attn_implementation" in path.read_text() for path in Path(kit.folder).glob("*config.json"))
    asks = [turns_of(replace(variant.prompt, ask="generate"), example) for example in task.examples.dev]
    with Shelf("cpu", dtype=torch.float32).engine(variant) as engine:
        ours = [texts[0] for texts in engine.generate(asks, Decoding(max_new_tokens=8))]
        scores = engine.score(asks, [task.labels] * len(asks))
    model = plainly(variant)
    tokenizer = AutoTokenizer.from_pretrained(variant.weights or variant.base.location)
    coder = Coder(tokenizer, variant.base.context)
    for turns, text, row in zip(asks, ours, scores, strict=True):
        prompt = coder.encode(turns)
        ids = torch.tensor([prompt.ids])
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            eos_token_id=list(coder.stop_ids),
            pad_token_id=0,
        )
        theirs = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert text.strip() == theirs.split("\n\n")[0].strip()
        for label, score in zip(task.labels, row, strict=True):
            whole = coder.encode(turns, label, close=False)
            with torch.no_grad():
                logs = model(input_ids=torch.tensor([whole.ids])).logits.log_softmax(-1)[0]
            direct = sum(float(logs[at - 1, whole.ids[at]]) for at, learn in enumerate(whole.learn) if learn)
            assert score == pytest.approx(direct, abs=2e-4, rel=1e-5)


def test_merged_answers_as_unmerged(base, tiny_task, lend):
    task = replace(tiny_task, examples=replace(tiny_task.examples, train=tiny_task.examples.train[:8], dev=()))
    variant = STEPS["lora"].apply(Variant(base, task.prompt), task, lend())
    ids = torch.arange(5, 29)[None]
    unmerged = plainly(variant)
    with torch.no_grad():
        expected = unmerged(input_ids=ids).logits
        bare = plainly(replace(variant, adapter=None))(input_ids=ids).logits
        found = merged(unmerged)(input_ids=ids).logits
    assert (expected - bare).abs().max() > 1e-3  # it learned something
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_our_loss_is_trls(tiny_folder, tiny_task, tmp_path):
    """The same rows, by text: TRL tokenises, masks, pads and averages them itself."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    coder = Coder(tokenizer, 512)
    pairs = [(turns_of(tiny_task.prompt, row), row.references[0]) for row in tiny_task.examples.train[:8]]
    rows = coder.encode_many(pairs)
    data = Dataset.from_list(
        [
            {
                "prompt": coder.render(turns),
                "completion": coder.render(turns, answer).removeprefix(coder.render(turns)).removesuffix("<|end|>"),
            }
            for turns, answer in pairs
        ]
    )
    config = SFTConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        report_to="none",
        use_cpu=True,
        bf16=False,
        completion_only_loss=True,
        max_length=512,
        gradient_checkpointing=False,
    )
    with contextlib.redirect_stdout(None):
        trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    assert [row["input_ids"] for row in trainer.train_dataset] == [row.ids for row in rows]
    batch = trainer.data_collator(list(trainer.train_dataset))
    trainer.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, dict(batch)))
        micro = pad(rows)
        ours = float(next_token(model, micro)) / micro.learned
        cut = bundle(rows, tokens=100)
        assert len(cut) > 1
        in_parts = sum(float(next_token(model, part)) for part in cut) / sum(part.learned for part in cut)
    assert micro.learned == int((batch["labels"] != -100).sum())
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert in_parts == pytest.approx(theirs, abs=1e-5)
