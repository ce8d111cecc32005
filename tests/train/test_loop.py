"""The one loop: its numbers, its ends, and that a killed run goes on as if it had not been."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace

import pytest
import torch

from tuneladder.errors import Failed
from tuneladder.model.batching import tiled
from tuneladder.model.lanes import Lanes, dealt, lanes_for
from tuneladder.task.encode import Encoded
from tuneladder.train import loop
from tuneladder.train.batches import Micro, Rows, bundle, pad
from tuneladder.train.loop import PASSES, Course, Passes, State, few_rows, follow, read_log, train
from tuneladder.train.losses import next_token
from tuneladder.train.low_rank import lora_course


def rows(count, seed=0, low=4, high=20, vocabulary=250):
    draw = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        size = int(torch.randint(low, high, (1,), generator=draw))
        ids = torch.randint(3, vocabulary, (size,), generator=draw).tolist()
        made.append(Encoded(ids, [place >= size - 2 for place in range(size)], 0))
    return made


@pytest.fixture
def model(tiny_folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)


def gradients(model, micros):
    model.zero_grad()
    learned = sum(micro.learned for micro in micros)
    for micro in micros:
        (next_token(model, micro) / learned).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize(("family", "share"), [("decoder", 1.0), ("encoder", 0.5), ("seq2seq", 1.0)])
@pytest.mark.parametrize("width", [256, 4096, 8192])
def test_a_loras_own_rate_never_rises_with_the_steps(width, family, share, tiny_base):
    course = lora_course(replace(tiny_base, width=width, family=family), warmup=0.06)
    rates = [course.eased(steps).learning_rate for steps in (1, 200, 201, 400, 800, 3_200, 100_000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == rates[1] == pytest.approx(share * 2e-4 * 4096 / width)
    assert rates[-1] == pytest.approx(min(rates[0], 2e-4 * (4096 / width) ** 0.5))
    assert Course(1e-3).eased(10_000).learning_rate == 1e-3  # where nothing is said, nothing falls


def test_accumulation_equals_the_large_batch(model):
    data = rows(12)
    whole = gradients(model, [pad(data)])
    for size in (1, 3, 5):
        parts = gradients(model, [pad(data[at : at + size]) for at in range(0, 12, size)])
        for name, gradient in whole.items():
            torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_lanes_give_the_gradients_of_the_large_batch(model, lanes):
    data = rows(12)
    whole = gradients(model, [pad(data)])
    names, learn = zip(*model.named_parameters(), strict=True)
    learned = sum(sum(row.learn) for row in data)
    passes = Passes(model, next_token, learn, autocast=None, lanes=lanes)
    found = []
    for _ in range(3):  # the first goes a lane at a time, the others at once; all are alike to the bit
        model.zero_grad(set_to_none=True)
        loss = passes.gradients(bundle(data, tokens=64, lanes=lanes), learned)
        found.append([weight.grad.clone() for weight in learn])
    passes.close()
    assert loss == pytest.approx(next_token(model, pad(data)).item() / learned, rel=1e-5)
    for name, first, second, third in zip(names, *found, strict=True):
        torch.testing.assert_close(first, whole[name], rtol=1e-4, atol=1e-6)
        assert torch.equal(first, second), name
        assert torch.equal(second, third), name


def test_dropout_in_lanes_goes_by_the_step_and_not_by_who_was_first(model):
    from tuneladder.model.attach import attach_lora

    model = attach_lora(model, r=4, alpha=8, dropout=0.5, targets=["q_proj", "down_proj"], seed=0)
    learn = [weight for weight in model.parameters() if weight.requires_grad]
    passes = Passes(model.train(), next_token, learn, autocast=None, lanes=2)
    found = []
    for step in (0, 0, 0, 1):
        passes.gradients(bundle(rows(12), tokens=64, lanes=2), 24, (7, step))
        found.append(torch.cat([weight.grad.flatten() for weight in learn]))
    passes.close()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])
    assert not torch.equal(found[2], found[3])


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_table_that_is_looked_up_alone_has_the_same_gradient_by_rows(model, monkeypatch, lanes):
    monkeypatch.setattr(loop, "LARGE", 100)
    torch.manual_seed(0)
    model.set_output_embeddings(torch.nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False))
    learn = list(model.parameters())
    whole = gradients(model, [pad(rows(9))])
    table = model.get_input_embeddings()
    passes = Passes(model, next_token, learn, autocast=None, lanes=lanes)
    with few_rows(model):
        assert table.sparse
        # steps before, on other rows, one of them added to the last: nothing of theirs is left
        for before in (rows(12)[9:], rows(11)[9:], rows(12)[10:]):
            passes.gradients(bundle(before, tokens=64, lanes=lanes), 1)
            if len(before) == 3:
                model.zero_grad(set_to_none=True)
        model.zero_grad(set_to_none=True)
        passes.gradients(bundle(rows(9), tokens=64, lanes=lanes), sum(sum(row.learn) for row in rows(9)))
    passes.close()
    assert not table.sparse
    for name, weight in model.named_parameters():
        assert not weight.grad.is_sparse
        torch.testing.assert_close(weight.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_a_table_that_the_head_reads_too_has_a_whole_gradient(model, monkeypatch):
    monkeypatch.setattr(loop, "LARGE", 100)
    model.set_output_embeddings(model.get_output_embeddings())
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    with few_rows(model):
        assert not model.get_input_embeddings().sparse


def test_gradients_are_clipped_as_torch_clips_them(model):
    for most in (1e-3, 1e3):
        loss = next_token(model, pad(rows(3)))
        model.zero_grad(set_to_none=True)
        loss.backward()
        learn = [weight for weight in model.parameters() if weight.grad is not None]
        before = [weight.grad.clone() for weight in learn]
        norm = loop._clip(learn, most)
        found = [weight.grad.clone() for weight in learn]
        for weight, gradient in zip(learn, before, strict=True):
            weight.grad = gradient
        assert torch.equal(torch.nn.utils.clip_grad_norm_(learn, most), norm)
        for weight, mine in zip(learn, found, strict=True):
            assert torch.equal(weight.grad, mine)


def test_what_draws_or_remembers_has_one_lane(model, monkeypatch):
    from transformers import AutoModelForCausalLM, GPT2Config

    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    state = torch.get_rng_state()
    assert lanes_for("cpu", model=model) == 4
    assert lanes_for("cuda", model=model) == 1
    assert lanes_for("cpu", trainable=10**9, model=model) == 1
    small = {"vocab_size": 16, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8}
    assert lanes_for("cpu", model=AutoModelForCausalLM.from_config(GPT2Config(**small))) == 1
    still = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}  # a dropout of its summary head, which is not there
    torch.set_rng_state(state)
    quiet = AutoModelForCausalLM.from_config(GPT2Config(**small, **still))
    state = torch.get_rng_state()
    assert lanes_for("cpu", model=quiet) == 4
    assert torch.equal(state, torch.get_rng_state())
    model.config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0}
    assert lanes_for("cpu", model=model) == 1


def test_lanes_leave_the_number_of_threads_as_it_was():
    from concurrent.futures import ThreadPoolExecutor

    before = torch.get_num_threads()
    lanes = Lanes(2)
    counted = lanes.map(lambda _: (torch.ones(1 << 20).sum(), torch.get_num_threads())[1], range(6))
    lanes.close()
    assert counted == [max(1, before // 2)] * 6
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == before


@pytest.mark.parametrize("count", [1, 2])
def test_what_comes_after_a_part_comes_after_each(count):
    done = []
    lanes = Lanes(count, after=lambda: done.append(1))
    assert lanes.map(lambda part: part + 1, [1, 2, 3]) == [2, 3, 4]
    assert lanes.in_turn(lambda part: part + 1, [1, 2]) == [2, 3]
    assert lanes.map(lambda part: part, [1]) == [1]
    lanes.close()
    assert len(done) == 6


def test_a_weight_that_no_pass_goes_through_has_no_gradient(model):
    model.idle = torch.nn.Parameter(torch.ones(3))
    names, learn = zip(*model.named_parameters(), strict=True)
    for lanes in (1, 2):
        model.zero_grad(set_to_none=True)
        passes = Passes(model, next_token, learn, autocast=None, lanes=lanes)
        passes.gradients(bundle(rows(6), tokens=64, lanes=lanes), 12)
        passes.close()
        assert [name for name, weight in zip(names, learn, strict=True) if weight.grad is None] == ["idle"]


def test_only_the_best_weights_are_kept(tmp_path):
    weight = torch.nn.Parameter(torch.zeros(2))
    state = State({"w": weight}, torch.optim.AdamW([weight]), tmp_path)
    for step, loss in enumerate((3.0, 2.0, 2.5, 1.0), start=1):
        state.step = step
        weight.data.fill_(step)
        state.look(loss, loss)
        if step == 2:
            state.save()
    # the checkpoint goes on from the second look; the fourth, which it does not know of, lies beside it
    assert sorted(path.name for path in tmp_path.glob("best-*")) == ["best-2.pt", "best-4.pt"]
    again = State({"w": weight}, torch.optim.AdamW([weight]), tmp_path)
    again.load()
    again.restore_best()
    assert weight.tolist() == [2.0, 2.0]
    state.restore_best()
    assert weight.tolist() == [4.0, 4.0]
    # nothing is stale while the loss still falls, whatever decides
    for loss, stale in ((2.0, 1), (0.5, 0), (0.5, 1)):
        state.look(9.0, loss)
        assert (state.stale, state.best) == (stale, 1.0)


def test_loss_equals_transformers(model):
    data = rows(5)
    micro = pad(data)
    labels = torch.full_like(micro.ids, -100)
    for at, row in enumerate(data):
        for place, learned in enumerate(row.learn):
            if learned:
                labels[at, place] = row.ids[place]
    theirs = model(input_ids=micro.ids, labels=labels).loss
    ours = next_token(model, micro) / micro.learned
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_bundles_hold_every_row_once_within_the_budget():
    data = rows(40, low=3, high=60)
    micros = bundle(data, tokens=120)
    assert sum(micro.ids.shape[0] for micro in micros) == 40
    assert sum(micro.learned for micro in micros) == 80
    assert all(micro.ids.numel() <= 120 or micro.ids.shape[0] == 1 for micro in micros)


@pytest.mark.parametrize("lanes", [2, 3, 8])
def test_lanes_are_filled_evenly(lanes):
    for seed in range(5):
        data = rows(16, seed=seed, low=30, high=90)
        micros = bundle(data, tokens=4096, lanes=lanes, overhead=0)
        costs = [micro.ids.numel() for micro in micros]
        loads = [sum(costs[index] for index in lane) for lane in dealt(costs, lanes)]
        assert sum(micro.ids.shape[0] for micro in micros) == 16
        assert max(loads) < 1.35 * sum(tiled(len(row.ids)) for row in data) / lanes
    assert bundle([], tokens=64, lanes=lanes) == []


def run(model, folder, *, stop=None, steps_of=lambda: rows(24), course=None, lanes=2, **settings):
    folder.mkdir(exist_ok=True)
    batches = Rows(steps_of(), batch=4, epochs=3, tokens=64, seed=1, lanes=lanes)
    dev = bundle(rows(6, seed=9), tokens=64)
    course = course or Course(3e-3, looks=6, save_every=0.0)
    ticks = train(model, batches, loss=next_token, course=course, folder=folder, seed=0, dev=dev, lanes=lanes, **settings)
    return follow(itertools.islice(ticks, stop), folder)


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("stop", [1, 7, 12])
def test_resumed_equals_uninterrupted(tiny_folder, tmp_path, stop):
    from transformers import AutoModelForCausalLM

    def fresh():
        return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)

    straight = fresh()
    whole = run(straight, tmp_path / "straight")
    run(fresh(), tmp_path / "cut", stop=stop)  # the generator is dropped: as a kill would
    second = fresh()
    resumed = run(second, tmp_path / "cut")
    assert [(t.step, t.loss, t.dev, t.learning_rate) for t in resumed] == [(t.step, t.loss, t.dev, t.learning_rate) for t in whole]
    assert [t.step for t in read_log(tmp_path / "cut")] == list(range(1, 19))
    for name, weight in weights(straight).items():
        assert torch.equal(weight, weights(second)[name]), name


def noting(sizes):
    def loss(model, micro):
        if model.training:
            sizes.append(micro.size)
        return next_token(model, micro)

    return loss


def test_a_step_that_takes_more_than_it_may_halves_the_passes_after_it(tiny_folder, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    def narrowed(folder, peaks, stop=None):
        model, sizes = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32), []
        series = itertools.chain(peaks, itertools.repeat(peaks[-1]))
        monkeypatch.setattr("tuneladder.train.loop.peak_read", lambda device: next(series))
        folder.mkdir(exist_ok=True)
        batches = Rows(rows(24), batch=4, epochs=3, tokens=64, seed=1)
        course = Course(3e-3, save_every=0.0)
        ticks = train(model, batches, loss=noting(sizes), course=course, folder=folder, seed=0, allowed=100)
        return follow(itertools.islice(ticks, stop), folder), sizes, weights(model)

    wide, sizes, whole = narrowed(tmp_path / "wide", [150])  # what stood before the first step is none of a step's doing
    assert not (tmp_path / "wide" / PASSES).exists()
    peaks = [50, 50, 50, 90, 90, 120]  # at the start, before the loop, then before and after each step
    ticks, narrow, weighed = narrowed(tmp_path / "narrow", peaks)
    assert narrow[:2] == sizes[:2]
    assert max(sizes) > 32 >= max(narrow[8:])  # two steps of four rows have at most so many passes
    assert json.loads((tmp_path / "narrow" / PASSES).read_text()) == {"halved": 1, "allowed": 100, "took": 120}
    assert [tick.loss for tick in ticks] == pytest.approx([tick.loss for tick in wide], rel=1e-4)
    for name, weight in whole.items():
        torch.testing.assert_close(weighed[name], weight, rtol=1e-3, atol=1e-5)

    narrowed(tmp_path / "cut", peaks, stop=7)
    resumed, _, again = narrowed(tmp_path / "cut", [50])
    assert [(tick.step, tick.loss) for tick in resumed] == [(tick.step, tick.loss) for tick in ticks]
    assert all(torch.equal(weight, weighed[name]) for name, weight in again.items())


def test_a_pass_that_a_gpu_has_no_room_for_is_tried_again_in_halves(tiny_folder, tmp_path):
    from transformers import AutoModelForCausalLM

    def learned(folder, room):
        def loss(model, micro):
            if model.training and micro.size > room:
                raise torch.OutOfMemoryError
            return next_token(model, micro)

        model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
        folder.mkdir()
        batches = Rows(rows(24), batch=4, epochs=1, tokens=64, seed=1)
        return follow(train(model, batches, loss=loss, course=Course(3e-3), folder=folder, seed=0), folder)

    wide = learned(tmp_path / "wide", 64)
    small = learned(tmp_path / "small", 40)
    assert [tick.loss for tick in small] == pytest.approx([tick.loss for tick in wide], rel=1e-4)
    assert json.loads((tmp_path / "small" / PASSES).read_text()) == {"halved": 1, "allowed": None, "took": None}
    with pytest.raises(torch.OutOfMemoryError):
        learned(tmp_path / "none", 3)


@pytest.mark.parametrize(("steps", "looks"), [(39, 20), (18, 11), (40, 20), (5, 20), (1, 1)])
def test_dev_is_looked_at_as_often_as_was_asked(steps, looks):
    course = Course(1e-3, looks=looks)
    at = [step for step in range(1, steps + 1) if course.looks_after(step, steps)]
    assert len(at) == min(steps, looks)
    assert at[-1] == steps
    gaps = [later - earlier for earlier, later in itertools.pairwise([0, *at])]
    assert max(gaps) - min(gaps) <= 1


def test_the_best_dev_weights_are_kept(model, tmp_path):
    course = Course(0.5, looks=7, patience=100, clip=100.0, save_every=1e9)  # a rate that ruins the model after its first steps
    ticks = run(model, tmp_path / "run", course=course)
    assert sum(tick.dev is not None for tick in ticks) == 7  # of 18 steps
    best = min(tick.dev for tick in ticks if tick.dev is not None)
    assert ticks[-1].dev > best
    passes = Passes(model, next_token, [], autocast=None, lanes=1)
    assert passes.looked(next_token, bundle(rows(6, seed=9), tokens=64)) == pytest.approx([best], rel=1e-5)


def test_a_plateau_ends_the_run(model, tmp_path):
    course = Course(0.5, looks=18, patience=2, clip=100.0)
    ticks = run(model, tmp_path / "run", course=course)
    assert ticks[-1].stopped == "plateau"
    assert ticks[-1].step < 18


def test_the_budget_ends_the_run_and_more_of_it_goes_on(tiny_folder, tmp_path):
    from transformers import AutoModelForCausalLM

    first = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    cut = run(first, tmp_path / "run", deadline=time.monotonic())
    assert cut[-1].stopped == "budget"
    assert cut[-1].step == 1
    second = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    done = run(second, tmp_path / "run")
    assert done[-1].stopped == "done"
    assert [tick.step for tick in done] == list(range(1, 19))


def test_what_is_refined_of_the_loss_decides_where_there_is_such_a_thing(model, tmp_path):
    left = iter([(5.0, 4.0), (9.0, 1.0), (2.0, 3.0), (2.0, 2.0)])

    def refined(model, micro):
        return torch.stack([next_token(model, micro), *(torch.tensor(each * micro.learned) for each in next(left))])

    dev = bundle(rows(6, seed=9), tokens=1024)
    assert len(dev) == 1
    seen, ticks = {}, []
    course = Course(3e-3, looks=4)
    batches = Rows(rows(24), batch=4, epochs=2, tokens=64, seed=1)
    for tick in train(model, batches, loss=next_token, course=course, folder=tmp_path, seed=0, dev=dev, refined=refined):
        ticks.append(tick)
        seen[tick.step] = weights(model)
    losses = [tick.dev for tick in ticks if tick.dev is not None]
    assert losses[1] > min(losses)  # by the loss another would be the best
    assert [tick.decisive for tick in ticks if tick.dev is not None] == pytest.approx([4.0, 1.0, 2.0, 2.0])
    kept = seen[6]
    assert all(torch.equal(own, kept[name]) for name, own in weights(model).items())


def test_nan_keeps_the_best_and_says_so(model, tmp_path):
    calls = itertools.count()

    def breaks(model, micro):
        value = next_token(model, micro)
        return value * float("nan") if model.training and next(calls) > 12 else value

    (tmp_path / "run").mkdir()
    batches = Rows(rows(24), batch=4, epochs=3, tokens=64, seed=1)
    dev = bundle(rows(6, seed=9), tokens=64)
    ticks = list(
        train(model, batches, loss=breaks, course=Course(3e-3, looks=18, patience=99), folder=tmp_path / "run", seed=0, dev=dev)
    )
    assert ticks[-1].stopped == "nan"
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
    best = min(t.dev for t in ticks if t.dev is not None)
    assert Passes(model, next_token, [], autocast=None, lanes=1).looked(next_token, dev) == pytest.approx([best], rel=1e-5)


def test_a_first_loss_that_is_no_number_fails(model, tmp_path):
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(Failed, match="first loss is nan"):
        run(model, tmp_path / "run")


def test_warm_up_and_cosine():
    course = Course(1.0, warmup=0.1, floor=0.1)
    rates = [course.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert max(rates) == 1.0
    assert rates[55] == pytest.approx(0.55, abs=0.02)
    assert rates[99] == pytest.approx(0.1, abs=0.01)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_autocast_does_not_leak_into_the_caller(model, tmp_path):
    (tmp_path / "run").mkdir()
    batches = Rows(rows(8), batch=4, epochs=1, tokens=64, seed=1)
    for _ in train(model, batches, loss=next_token, course=Course(1e-3), folder=tmp_path / "run", seed=0, autocast=torch.bfloat16):
        assert not torch.is_autocast_enabled("cpu")


def test_micro_counts_what_is_learned():
    micro = pad(rows(3))
    assert isinstance(micro, Micro)
    assert micro.learned == 6


def test_weights_that_learn_faster_or_slower(model, tmp_path):
    """After one step of Adam every number has moved by its rate; the rest moves as it would without."""
    own = {"model.embed_tokens.weight": 8.0, "model.layers.0.self_attn.q_proj.weight": 0.25}
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    batches, moved = Rows(rows(8), batch=8, epochs=1, tokens=128, seed=0), {}
    for name, times in (("alike", {}), ("apart", own)):
        course = Course(1e-3, warmup=0.0, weight_decay=0.1, times=times)
        with torch.no_grad():
            for one, weight in model.named_parameters():
                weight.copy_(before[one])
        (tick,) = train(model, batches, loss=next_token, course=course, folder=tmp_path / name, seed=0)
        assert tick.learning_rate == 1e-3
        moved[name] = {one: (weight.detach() - before[one]).abs().median() for one, weight in model.named_parameters()}
    for one, much in moved["apart"].items():
        assert float(much) == pytest.approx(own.get(one, 1.0) * float(moved["alike"][one]), rel=0.05), one


def test_each_epoch_draws_of_every_set_what_it_should_and_reads_it_whole_before_it_comes_again():
    data = rows(10 + 4)
    drawn = Rows(data, batch=9, epochs=6, tokens=512, seed=0, sets=[(10, 3), (4, 6)])
    number = {id(row): at for at, row in enumerate(data)}
    assert len(drawn) == 6
    epochs = [[number[id(drawn._row(at))] for at in range(epoch * 9, epoch * 9 + 9)] for epoch in range(6)]
    for epoch in epochs:
        assert sum(at < 10 for at in epoch) == 3
    first = [at for epoch in epochs for at in epoch if at < 10]
    assert sorted(first[:9]) == sorted(set(first[:9]))
    assert len(set(first)) == 10
    second = [at for epoch in epochs[:2] for at in epoch if at >= 10]
    assert {second.count(at) for at in (10, 11, 12, 13)} == {3}
    again = Rows(data, batch=9, epochs=6, tokens=512, seed=0, sets=[(10, 3), (4, 6)])
    assert [number[id(again._row(at))] for at in range(45, 54)] == epochs[5]


def test_one_set_read_whole_is_what_no_sets_are():
    data = rows(11)
    plain, one = (Rows(data, batch=4, epochs=3, tokens=512, seed=5, sets=sets) for sets in ((), [(11, 11)]))
    assert [id(plain._row(at)) for at in range(33)] == [id(one._row(at)) for at in range(33)]


def test_a_look_of_ones_own_takes_the_place_of_dev_and_counts_the_start(model, tmp_path):
    """The lowest that it finds is kept; it leaves no loss in the ticks."""
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    asked = []

    def look(step):
        asked.append(step)
        return [1.0, 2.0, 0.5, 3.0][len(asked) - 1]

    batches = Rows(rows(8), batch=2, epochs=1.5, tokens=200, seed=0)
    course = Course(1e-2, looks=3, patience=9)
    given = {"loss": next_token, "course": course, "seed": 0}
    kept = {}
    for tick in train(model, batches, folder=tmp_path, look=look, **given):
        if tick.step == 4:
            kept = {name: weight.clone() for name, weight in model.state_dict().items()}
        assert tick.dev is None
    assert asked == [0, 2, 4, 6]
    assert all(torch.equal(weight, kept[name]) for name, weight in model.state_dict().items())
    model.load_state_dict(before)
    again = tmp_path / "again"
    again.mkdir()
    last = list(
        train(model, batches, folder=again, look=lambda step: float(step), **(given | {"course": replace(course, patience=2)}))
    )[-1]
    assert (last.step, last.stopped) == (4, "plateau")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
