"""Next-sentence prediction: what a pair is, that the loss is BERT's own, and that it can be learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.attach import pair_head, with_pair_head
from tuneladder.model.inspect import inspect
from tuneladder.task.passages import TextCoder
from tuneladder.task.tokenizer import train_tokenizer
from tuneladder.train.batches import Blocks
from tuneladder.train.loop import Course, train
from tuneladder.train.pairing import ELSEWHERE, HiddenAndNext, Paired, Pairs, marks
from tuneladder.tune.pretrain import Pretrain
from tuneladder.types import Base, Document, Pace

STEP = Pretrain(tokens=1024, length=32, batch_size=4, learning_rate=2e-3, looks=4, next_sentence=1.0)


@pytest.fixture(scope="module")
def coder() -> TextCoder:
    text = "The river runs past the mill. A heron stands in the shallows and waits."
    tokenizer = train_tokenizer([Document(text)], vocabulary=300, context=64, mixture={}, seed=0, family="encoder")
    return TextCoder(tokenizer, 64, kinds=2)


def config(**changes: float) -> BertConfig:
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return BertConfig(**sizes, max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **changes)


def pairs(coder: TextCoder, tokens: np.ndarray, *, steps: int = 20, seed: int = 0, length: int = 41) -> Pairs:
    blocks = Blocks({"mill": tokens}, {}, length=length - marks(coder), batch=8, rows=4, steps=steps, seed=0)
    return Pairs(blocks, coder, vocabulary=300, seed=seed)


def test_half_of_the_pairs_follow_and_the_others_come_from_elsewhere(coder: TextCoder) -> None:
    running = np.arange(12_000) % 290 + 5  # each token says which comes next
    batches = pairs(coder, running.astype(np.uint16), steps=40)
    labels, chance = [], 0
    for step in range(len(batches)):
        for micro in batches[step]:
            assert micro.ids.shape == (4, 41)
            whole = micro.ids.flatten().clone()
            whole[micro.rows] = micro.targets  # as it was before tokens were hidden
            for ids, kinds, label in zip(whole.view(4, 41), micro.segments, micro.pairs, strict=True):
                second = int(kinds.argmax())
                assert kinds[:second].sum() == 0
                assert kinds[second:].all()
                assert 9 <= second - 2 <= 29  # somewhere in the middle half of 38
                assert [ids[0], ids[second - 1], ids[-1]] == [coder.opening[0], coder.between[0], coder.closing[0]]
                steady = (ids[second] - ids[second - 2]) % 290 == 1
                assert steady or label == ELSEWHERE
                chance += bool(steady) and label == ELSEWHERE
                labels.append(int(label))
    assert chance < 5
    assert np.mean(labels) == pytest.approx(0.5, abs=0.06)


def test_a_document_is_not_said_to_follow_another(coder: TextCoder) -> None:
    tokens = np.full(3000, 7, dtype=np.uint16)
    tokens[::9] = coder.closing[0]
    for micro in pairs(coder, tokens)[0]:
        for ids, kinds in zip(micro.ids, micro.segments, strict=True):
            assert int(ids[int(kinds.argmax()) - 2]) != coder.closing[0]


def test_pairs_are_a_function_of_the_seed_and_the_step(coder: TextCoder) -> None:
    tokens = (np.arange(5000) % 290 + 5).astype(np.uint16)
    one, again, other = (pairs(coder, tokens, seed=seed)[7] for seed in (5, 5, 6))
    assert all(torch.equal(a.ids, b.ids) and torch.equal(a.pairs, b.pairs) for a, b in zip(one, again, strict=True))
    assert not all(torch.equal(a.ids, b.ids) for a, b in zip(one, other, strict=True))


def test_the_loss_is_berts_own(coder: TextCoder, tmp_path: Path) -> None:
    torch.manual_seed(0)
    BertForPreTraining(config(type_vocab_size=2, initializer_range=1.0)).save_pretrained(tmp_path)
    reference = BertForPreTraining.from_pretrained(tmp_path).eval()
    model = BertForMaskedLM.from_pretrained(tmp_path).eval()
    learner = Paired(model, pair_head(str(tmp_path), model, seed=0, trust=False))
    tokens = np.random.default_rng(0).integers(0, 300, 5000).astype(np.uint16)  # marks among them: rows differ in what is hidden
    micros = pairs(coder, tokens)[3]
    learned = sum(micro.learned for micro in micros)
    with torch.no_grad():
        ours = sum(HiddenAndNext(1.0)(learner, micro) / learned for micro in micros)
        labels = torch.cat([torch.full_like(micro.ids, -100) for micro in micros])
        start = 0
        for micro in micros:
            labels.view(-1)[micro.rows + start] = micro.targets
            start += micro.ids.numel()
        theirs = reference(
            input_ids=torch.cat([micro.ids for micro in micros]),
            token_type_ids=torch.cat([micro.segments for micro in micros]),
            labels=labels,
            next_sentence_label=torch.cat([micro.pairs for micro in micros]),
        ).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    with torch.no_grad():  # and without the pairs it is masked language modelling alone
        alone = sum(HiddenAndNext(0.0)(learner, micro) / learned for micro in micros)
        kinds = torch.cat([micro.segments for micro in micros])
        masked = model(input_ids=torch.cat([micro.ids for micro in micros]), token_type_ids=kinds, labels=labels).loss
    assert float(alone) == pytest.approx(float(masked), rel=1e-6)


@pytest.fixture(scope="module")
def bert(coder: TextCoder, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A tiny BERT with the pooler and the head for pairs that it was pretrained with."""
    folder = tmp_path_factory.mktemp("bert") / "bert"
    torch.manual_seed(0)
    BertForPreTraining(config(type_vocab_size=2)).save_pretrained(folder)
    coder.tokenizer.save_pretrained(folder)
    return inspect(str(folder))


def test_a_bert_keeps_its_own_head_and_learns_it(bert, tiny_task, lend) -> None:
    kit = lend()
    made = STEP.apply(root_of(bert, tiny_task), tiny_task, kit)
    before = BertForPreTraining.from_pretrained(bert.location)
    after, found = BertForPreTraining.from_pretrained(made.weights, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    for name, weight in after.named_parameters():
        assert not torch.equal(weight, before.get_parameter(name)), name
    with kit.shelf.engine(made) as engine:  # and to us it is the masked model that it was
        assert engine.read(["The river runs."])[0] < 0
    again = STEP.apply(made, tiny_task, lend("again"))  # with the head it has by now
    assert BertForPreTraining.from_pretrained(again.weights).cls.seq_relationship.weight.shape == (2, 32)


def test_a_new_head_is_thrown_away(tiny_encoder, tiny_task, lend) -> None:
    kit = lend()
    made = STEP.apply(root_of(tiny_encoder, tiny_task), tiny_task, kit)
    with (
        kit.shelf.live(made) as live,
        kit.shelf.__class__("cpu", dtype=torch.float32).live(root_of(tiny_encoder, tiny_task)) as own,
    ):
        assert set(live.model.state_dict()) == set(own.model.state_dict())


def test_cut_and_taken_up_again_it_ends_the_same(tiny_encoder, tiny_task, lend) -> None:
    root = root_of(tiny_encoder, tiny_task)
    straight, cut = lend("straight"), lend("cut", deadline=0.0)
    STEP.apply(root, tiny_task, straight)
    STEP.apply(root, tiny_task, cut)
    STEP.apply(root, tiny_task, lend("cut"))
    assert (cut.folder / "model.safetensors").read_bytes() == (straight.folder / "model.safetensors").read_bytes()
    plain = replace(STEP, next_sentence=0.0)
    plain.apply(root, tiny_task, lend("plain"))
    assert (lend("plain").folder / "model.safetensors").read_bytes() != (straight.folder / "model.safetensors").read_bytes()


def test_it_is_refused_where_it_makes_no_sense(tiny_base, tiny_task) -> None:
    with pytest.raises(Refused, match="next_sentence is for an encoder"):
        STEP.plan(root_of(tiny_base, tiny_task), tiny_task, Pace(1e9))
    with pytest.raises(BadInput, match="cannot use next_sentence -1"):
        Pretrain(next_sentence=-1)
    with pytest.raises(BadInput, match="cannot compile with next_sentence"):
        Pretrain(next_sentence=1, compile="on")


def test_a_tiny_model_learns_it_above_chance(coder: TextCoder, tmp_path: Path) -> None:
    """Every document has words of its own: what follows is told by whether the words are the same."""
    rng = np.random.default_rng(0)
    topics = rng.permutation(np.arange(5, 293)).reshape(16, 18)
    tokens = np.concatenate([rng.choice(topics[topic], 400) for topic in rng.integers(0, 16, 100)]).astype(np.uint16)
    torch.manual_seed(0)
    BertForMaskedLM(config(type_vocab_size=2)).save_pretrained(tmp_path)
    model = BertForMaskedLM.from_pretrained(tmp_path)
    learner = Paired(model, pair_head(str(tmp_path), model, seed=0, trust=False))
    batches = pairs(coder, tokens, steps=300, length=32)
    for _ in train(learner, batches, loss=HiddenAndNext(1.0), course=Course(1e-2), folder=tmp_path, seed=0):
        pass
    right = []
    with torch.no_grad():
        for step in range(200, 240):
            for micro in pairs(coder, tokens, steps=300, length=32, seed=9)[step]:
                said = learner.head(model.bert(input_ids=micro.ids, token_type_ids=micro.segments).last_hidden_state).argmax(-1)
                right += (said == micro.pairs).tolist()
    assert np.mean(right) > 0.65  # of 320; chance is 0.5
    assert with_pair_head(model, learner.head) is model


def test_narrower_passes_have_the_same_pairs(coder: TextCoder) -> None:
    batches = pairs(coder, np.arange(3, 5003, dtype=np.uint16) % 290 + 5)
    wide = batches[2]
    assert batches.narrow()
    assert [len(micro.ids) for micro in batches[2]] == [2, 2, 2, 2]
    assert torch.equal(torch.cat([micro.ids for micro in batches[2]]), torch.cat([micro.ids for micro in wide]))
