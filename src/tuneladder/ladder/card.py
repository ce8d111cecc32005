"""The model card of the pick: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tuneladder.errors import BadInput
from tuneladder.ladder import words
from tuneladder.ladder.results import forgetting, held, metric_of, per_answer, picked_result, settings
from tuneladder.ladder.tree import step_name
from tuneladder.ladder.verdict import plainly, sentence
from tuneladder.model.adapters import opened_by_peft
from tuneladder.model.ask import turns_of
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.probe import FACTS, WEIGHTS
from tuneladder.model.quantized import WHOLE, settings_of
from tuneladder.model.shelf import MULTI_LABEL
from tuneladder.store import write_text
from tuneladder.task.template import PLAIN
from tuneladder.types import Example, Ladder, Measurement, Prompt, Result, Task, Tick, Turn, Turns, Variant

LONGEST_PROMPT = 6000  # characters of worked examples that a card still shows
TASKS = {"classify": "text-classification", "tag": "token-classification"}  # as the hub calls them; else text-generation


def write_card(ladder: Ladder, folder: Path) -> Path:
    """Write README.md into `folder`. Raises BadInput where nothing was picked."""
    pick = picked_result(ladder)
    if pick is None or pick.variant is None:
        raise BadInput("no rung was picked, so there is no model to describe", "see the failures in the report")
    path = folder / "README.md"
    front = yaml.safe_dump(_front(ladder, pick, pick.variant), sort_keys=False, allow_unicode=True, width=120)
    write_text(path, f"---\n{front}---\n\n{_body(ladder, pick, pick.variant, folder)}")
    return path


def _front(ladder: Ladder, pick: Result, variant: Variant) -> dict[str, Any]:
    base, examined = variant.base, pick.test or pick.dev
    # of a judge's figure the hub cannot say that nobody has set it beside people; the table below does
    quality = {name: score for name, score in examined.quality.items() if name not in examined.judged} if examined else {}
    kinds = {"decoder": "text-generation", "encoder": "feature-extraction", "seq2seq": "text2text-generation"}
    return {
        "license": base.licence.lower() or "unknown",
        "base_model": base.location if base.source == "hub" else base.name,
        "library_name": _library(variant),
        "pipeline_tag": _pipeline(variant) if variant.head or variant.probe else kinds[base.family],
        "tags": ["tuneladder", ladder.task.kind, *dict.fromkeys(variant.steps)],
        "metrics": list(quality),
        "model-index": [
            {
                "name": pick.rung.name,
                "results": [
                    {
                        "task": {"type": TASKS.get(ladder.task.kind, "text-generation")},
                        "dataset": {"name": ladder.task.name, "type": "custom", "split": "test" if pick.test else "dev"},
                        "metrics": [{"type": name, "value": round(score.value, 6)} for name, score in quality.items()],
                    }
                ],
            }
        ],
    }


def _library(variant: Variant) -> str:
    """What opens it."""
    if variant.base.source == "url":
        return "openai"
    return "peft" if variant.adapter and opened_by_peft(variant.adapter) else "transformers"


def _pipeline(variant: Variant) -> str:
    """What the hub calls a model with a head."""
    return TASKS["tag" if variant.head and variant.head.kind == "tags" else "classify"]


def _body(ladder: Ladder, pick: Result, variant: Variant, folder: Path) -> str:
    task, base = ladder.task, variant.base
    steps = [
        f"`{step_name(step)}`" + (f" ({_settings(settings(step), pick.curve)})" if settings(step) else "")
        for step in pick.rung.steps
    ]
    splits = held(task)
    rows = f"{len(splits.train):,} rows to learn from, {len(splits.dev):,} to choose by, {len(splits.test):,} to confirm with"
    made = (
        "a linear head over the embeddings"
        if variant.probe
        else ("an adapter in PEFT's format" if opened_by_peft(variant.adapter) else "an adapter, of a form that PEFT does not have")
        if variant.adapter
        else "a model in transformers' format"
        if variant.weights
        else "the base, asked with a prompt"
    )
    several = ", of which a row has any number" if task.multi_label else ""
    sets = f"Data sets: {', '.join(f'`{name}`' for name in task.mixture)}.\n\n" if task.mixture else ""
    labels = f"Labels{several}: {', '.join(f'`{label}`' for label in task.labels)}.\n\n" if task.labels else ""
    lost = forgetting(pick)
    examined = pick.test or pick.dev
    one = per_answer(pick)
    price = f" and {words.money(one.money)} of money" if one.money else ""
    size = f"{base.parameters / 1e6:,.1f} M parameters, {base.family}"
    size = "of a size that nobody here knows" if base.source == "url" else size
    parts = [
        f"# {task.name}: {pick.rung.name}\n",
        f"{sentence(ladder)}\n",
        f"This is {made}, on `{base.name}` ({size}), made with Tuneladder{' by ' + ' then '.join(steps) if steps else ''}.\n",
        "## Data\n",
        f"Task `{task.name}`, kind {task.kind}: {rows}. No row is in two splits.\n\n{sets}{labels}".rstrip() + "\n",
        "## Figures\n",
        _figures(ladder, pick, examined),
        f"\nForgetting, the relative rise of the base's loss on held-out plain text: {words.percent(lost)}."
        if lost is not None
        else "",
        "".join(f"\n{said}" for said in plainly(ladder)),
        f"\nClimbed in {words.duration(pick.alone.seconds)}, peak memory {words.size(pick.alone.memory)}, "
        f"{words.size(pick.alone.disk)} on disk; "
        f"{words.duration(one.seconds) if examined else words.NONE}{price} an answer.\n",
        "## Use it\n",
        _use(ladder.task, variant, folder),
        "## Limits\n",
        _limits(ladder, pick),
    ]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _settings(values: dict[str, Any], curve: Sequence[Tick]) -> str:
    """Settings as a card says them; one that was left to the step is called so, the learning rate with the peak that it had."""
    said = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    for name in ("alpha", "learning_rate", "max_length"):
        if name in values and not values[name]:
            said[name] = "auto"
    if said.get("learning_rate") in ("auto", '"probe"') and curve:
        said["learning_rate"] = f"{max(tick.learning_rate for tick in curve):.3g}"
    return ", ".join(f"{name} {value}" for name, value in said.items())


def _figures(ladder: Ladder, pick: Result, examined: Measurement | None) -> str:
    if examined is None:
        return ""
    split = "test" if pick.test else "dev"
    lines = [f"| metric | {split} | 95 % interval | rows |", "|---|---|---|---|"]
    names = sorted(examined.quality, key=lambda name: name != metric_of(ladder))
    for name in names:
        score = examined.quality[name]
        lines.append(f"| {words.metric_name(name)} | {words.figure(score.value)} | {words.span(score)} | {score.count:,} |")
    return "\n".join(lines)


def _seen(path: str, folder: Path) -> str:
    return json.dumps(Path(os.path.relpath(path, folder)).as_posix())


def _use(task: Task, variant: Variant, folder: Path) -> str:
    """How to load and ask it with PEFT and transformers alone. Paths are written as seen from the card's folder."""
    if variant.base.source == "url":
        return _use_endpoint(task, variant)
    if variant.base.family == "encoder" or variant.probe or variant.head:
        return _use_encoder(task, variant, folder)
    lines, opened, ahead = _over(variant, folder)
    seq2seq = variant.base.family == "seq2seq"
    kind = "AutoModelForSeq2SeqLM" if seq2seq else "AutoModelForCausalLM"
    lines += [*_read(variant, kind, folder), *opened]
    turns, note = _asked(variant.prompt, task)
    tokens = variant.prompt.think.tokens if variant.prompt.think else variant.prompt.decoding.max_new_tokens
    lines += ["", "messages = [", *_messages(turns)]
    written = "" if seq2seq else ', inputs["input_ids"].shape[1]:'  # a decoder's output begins with what it read
    lines += [
        "]",
        "if tokenizer.chat_template:",
        "    asked = {'tokenize': False, 'add_generation_prompt': True, 'enable_thinking': False}",
        "    prompt = tokenizer.apply_chat_template(messages, **asked)",
        "else:",
        f"    plain = {json.dumps(PLAIN)}",
        '    prompt = "".join(plain[each["role"]].format(each["content"]) for each in messages)',
        'inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=not tokenizer.chat_template)',
        *ahead,
        f"output = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False)",
        f"print(tokenizer.decode(output[0{written}], skip_special_tokens=True).strip())",
    ]
    if variant.prompt.ask == "score":
        note += "The figures above were made by ranking the labels' log-probabilities after this prompt; "
        note += "generating, as here, mostly gives the same.\n"
    return "```python\n" + "\n".join(lines) + "\n```\n" + (f"\n{note}" if note else "")


def _messages(turns: Turns) -> list[str]:
    return [f"    {json.dumps({'role': turn.role, 'content': turn.text}, ensure_ascii=False)}," for turn in turns]


def _use_endpoint(task: Task, variant: Variant) -> str:
    """As `_use`, for a model whose weights lie elsewhere."""
    base, (turns, note) = variant.base, _asked(variant.prompt, task)
    key, model = (json.dumps(name) for name in (base.settings.get("key_env", "OPENAI_API_KEY"), base.settings["model"]))
    tokens = variant.prompt.decoding.max_new_tokens
    lines = [
        "import os",
        "",
        "from openai import OpenAI",
        "",
        f'client = OpenAI(base_url={json.dumps(base.location)}, api_key=os.environ.get({key}, "none"))',
        "messages = [",
        *_messages(turns),
        "]",
        f"reply = client.chat.completions.create(model={model}, messages=messages, max_tokens={tokens})",
        "print(reply.choices[0].message.content)",
    ]
    return "```python\n" + "\n".join(lines) + "\n```\n" + (f"\n{note}" if note else "")


def _asked(prompt: Prompt, task: Task) -> tuple[Turns, str]:
    """What is asked of a text, as a row of the task's first data set, and what that does not show."""
    rows = (*task.examples.test, *task.examples.dev)
    ways = {row.set: row.template or prompt.template for row in reversed(rows)}  # of each data set its first row's
    own = rows[0].set if rows else ""
    example = Example("", (Turn("user", "YOUR TEXT"),), ("",), set=own, template=ways.get(own, ""))
    shots, note = prompt.shots, ""
    if others := [f"`{name}` by {json.dumps(way, ensure_ascii=False)}" for name, way in sorted(ways.items()) if way != ways[own]]:
        note = f"Each data set is asked in its own way, as here `{own}`; {', '.join(others)}.\n"
    near = shots is not None and shots.choose == "nearest"
    turns = turns_of(replace(prompt, shots=None), example) if near else turns_of(prompt, example)
    if shots and near:
        note += f"Before each text stand the {shots.count} most like it of {len(shots.pool):,} labelled rows ({shots.similarity}), "
        note += "which are not shown here; climbing recipe.yaml finds them again.\n"
    elif sum(len(turn.text) for turn in turns) > LONGEST_PROMPT:
        turns = turns_of(replace(prompt, shots=None), example)
        note += "The prompt's worked examples are too long to show here; climbing recipe.yaml makes them again.\n"
    if prompt.think:
        note += "This writes the reasoning. The answer is asked for with the reasoning at the end of the same message, and then "
        note += f"`{prompt.think.conclusion}`.\n"
    if prompt.why:
        note += f"After its answer it was asked `{prompt.why.question}`, which moves no figure above.\n"
    if prompt.vote > 1:
        note += f"The figures above are of {prompt.vote} samples at temperature {prompt.decoding.temperature:g}, and their vote.\n"
    return turns, note


def _read(variant: Variant, kind: str, folder: Path) -> list[str]:
    """Lines that open the tokenizer and the model, of the class of that name, that the variant's adapter lies over."""
    import transformers

    base = json.dumps(variant.base.location)
    told, imports = _seen(variant.weights, folder) if variant.weights else base, f"{kind}, AutoTokenizer"
    if variant.head and not variant.weights:
        told += f", num_labels={len(variant.head.labels)}"
        told += f", problem_type={json.dumps(MULTI_LABEL)}" if variant.head.kind == "multi_label" else ""
        # PEFT keeps a head in float32, and beside a soft prompt nothing casts what it reads
        told += ", dtype=torch.float32" if variant.adapter and variant.format == WHOLE else ""
    if variant.format != WHOLE:
        bits = settings_of(variant.format, getattr(transformers, kind), variant.weights or variant.base.location)
        told += f", quantization_config=BitsAndBytesConfig({', '.join(f'{name}={value!r}' for name, value in bits.items())})"
        imports += ", BitsAndBytesConfig"
    return [
        f"from transformers import {imports}",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base})",
        f"model = {kind}.from_pretrained({told})",
    ]


def _over(variant: Variant, folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Lines that import what opens the variant's adapter, that open it, and that put what it needs before what is read."""
    if not variant.adapter:
        return [], [], []
    place = _seen(variant.adapter, folder)
    if opened_by_peft(variant.adapter):
        return ["from peft import PeftModel"], [f"model = PeftModel.from_pretrained(model, {place})"], []
    return (
        ["import torch", "from tuneladder.model.adapters import open_adapter  # PEFT has no form for this one"],
        [f"model, soft = open_adapter(model, {place})"],
        [
            'ids = torch.cat([torch.tensor([soft], dtype=torch.long), inputs["input_ids"]], dim=1)',
            'inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}',
        ],
    )


def _use_encoder(task: Task, variant: Variant, folder: Path) -> str:
    """As `_use`, for what embeds a text or labels it with a head of its own."""
    encoder, head = variant.base.family == "encoder", variant.head
    tags = head is not None and head.kind == "tags"
    classes = "AutoModelForTokenClassification" if tags else "AutoModelForSequenceClassification"
    bodies = {"encoder": "AutoModel", "decoder": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM"}
    kind = classes if head else bodies[variant.base.family]
    imports, opened, ahead = _over(variant, folder)
    lines = [*dict.fromkeys(["import torch", *imports])]
    lines += ["from safetensors.torch import load_file"] if variant.probe else []
    lines += [*_read(variant, kind, folder), *opened]
    asked, unshown = _asked(variant.prompt, task)
    text = "YOUR TEXT" if encoder else "".join(PLAIN[turn.role].format(turn.text) for turn in asked)
    labels: list[str] = list(head.labels) if head else []
    lines.append("model.eval()")
    if tags:
        return _use_tags(lines, labels, ahead)
    facts = json.loads((Path(variant.probe) / FACTS).read_text("utf-8")) if variant.probe else {}
    inputs = "\n".join([f'inputs = tokenizer({json.dumps(text, ensure_ascii=False)}, return_tensors="pt")', *ahead])
    run = ["with torch.no_grad():", "    output = model(**inputs, output_hidden_states=True)"]
    embedding = "output.hidden_states[-1][0].float().mean(0)"
    if facts.get("pairs"):
        own = ('inputs = tokenizer(text, return_tensors="pt")', *ahead, *run)
        lines += ["", "def embed(text):", *(f"    {line}" for line in own)]
        lines += [f"    return {embedding}", "", 'u, v = embed("FIRST TEXT"), embed("SECOND TEXT")']
        lines.append("embedding = torch.cat([u, v, (u - v).abs(), u * v])")
    elif variant.base.family == "seq2seq":
        read = "embedding = model.get_encoder()(**inputs).last_hidden_state[0].float().mean(0)"
        lines += [inputs, "with torch.no_grad():", f"    {read}"]
    else:
        lines += [inputs, *run, "logits = output.logits[0]" if head and not variant.probe else f"embedding = {embedding}"]
    note = "An instruction is not read, and a blank line in a text stands for the tokenizer's separator.\n" if encoder else unshown
    if variant.probe:
        labels = facts["labels"]
        lines.append(f"head = load_file({json.dumps(json.loads(_seen(variant.probe, folder)) + '/' + WEIGHTS)})")
        lines.append('logits = head["weight"] @ ((embedding - head["mean"]) / head["scale"]) + head["bias"]')
        note += (
            f"`{WEIGHTS}` holds float32 tensors: mean and scale (width), weight (labels, width), bias (labels). `{FACTS}` beside "
            "it says which labels, in their order, and how the head was made.\n"
        )
    several = facts.get("multi_label") if variant.probe else head is not None and head.kind == "multi_label"
    if several:
        lines.append(f"labels = {json.dumps(labels, ensure_ascii=False)}")
        lines.append("print([label for label, logit in zip(labels, logits.tolist()) if logit > 0])")
        note += "A label is given where it is likelier than not: its logit is above 0.\n"
    elif head is not None and head.kind == "reward":
        lines.append("print(float(logits[0]))")
        note += "The number is the reward of the last answer in the text: of two answers to one prompt the better has more.\n"
    elif labels:
        lines.append(f"print({json.dumps(labels, ensure_ascii=False)}[int(logits.argmax())])")
    else:
        note += "Labels are ranked by the cosine of a text's embedding with that of the label's own word.\n"
    return "```python\n" + "\n".join(lines) + "\n```\n" + f"\n{note}"


def _use_tags(lines: Sequence[str], labels: Sequence[str], ahead: Sequence[str]) -> str:
    """As `_use`, for a head that tags words."""
    rest = [
        'text = "YOUR TEXT"',
        'inputs = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)',
        'ends = inputs.pop("offset_mapping")[0, :, 1].tolist()',
        *ahead,
        "with torch.no_grad():",
        "    logits = model(**inputs).logits[0, -len(ends):]",
        f"labels, start = {json.dumps(labels, ensure_ascii=False)}, 0",
        'for word in text.split(" "):',
        "    place = next(place for place, end in enumerate(ends) if end > start)",
        "    print(word, labels[int(logits[place].argmax())])",
        "    start += len(word) + 1",
    ]
    note = "An instruction is not read. Words stand with single blanks between; a word's tag is what its first token says.\n"
    return "```python\n" + "\n".join([*lines, *rest]) + f"\n```\n\n{note}"


def _limits(ladder: Ladder, pick: Result) -> str:
    task = ladder.task
    limits = [f"It was measured on rows like those of `{task.name}` only; on other inputs it may do much worse."]
    if task.multi_label:
        limits.append("It knows no labels but its own, and gives a text none where it is sure of none.")
    elif task.kind == "classify":
        limits.append("It always answers with one of its labels, also where none fits.")
    if ladder.pick and not ladder.pick.cleared and ladder.bar.at_least is not None:
        limits.append("It does not clear the bar that was set for it.")
    if ladder.pick and ladder.pick.cleared and ladder.pick.confirmed is False:
        limits.append("It cleared the bar on the dev rows, but the test rows do not confirm it.")
    if pick.variant and pick.variant.base.source != "url" and computed_in(device()) != "float32":
        limits.append("It was measured in bfloat16: opened in float32, it may answer a few rows otherwise.")
    limits.append("What the base has learned and inherited from its own data, biases included, is still in it.")
    return "\n".join(f"- {limit}" for limit in limits) + "\n"
