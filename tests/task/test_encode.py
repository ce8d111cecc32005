"""Masks, cutting and BOS against golden cases.

The four chat templates are written here from the public facts of their styles: ChatML's and Llama-3's headers, Gemma's model
role and its refusal of a system turn, Mistral's [INST] with the blank before an answer.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tuneladder.errors import BadInput
from tuneladder.task.encode import Coder, Encoded, TooLong, encode_all
from tuneladder.types import Turn, Turns

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
# Drops what an earlier assistant thought, so that its output depends on what the turns say.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'].split('</think>')[-1] if m['role'] == 'assistant' else m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Without BOS, though the tokenizer adds one to plain text.
ZEPHYR = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# Thinks before it answers where it is not told to leave that.
SWITCHED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if loop.last and m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

WORDS = "Name the capital of France. Which one? Paris Berlin Answer: user assistant model system you are brief. It is sunny."


def tokenizer(*specials: str, bos: str | None, eos: str, template: str | None, adds_bos: bool) -> Any:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    named = [token for token in (bos, eos, *specials) if token]
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=named, show_progress=False
    )
    core.train_from_iterator([WORDS] * 3, trainer)
    core.post_processor = processors.ByteLevel(trim_offsets=True)
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, core.token_to_id(bos))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token=eos, additional_special_tokens=list(specials))
    made.chat_template = template
    return made


def coder(shape: str, context: int = 512) -> Coder:
    made = {
        "plain": lambda: tokenizer(bos=None, eos="<|end|>", template=None, adds_bos=False),
        "plain_bos": lambda: tokenizer(bos="<s>", eos="</s>", template=None, adds_bos=True),
        "chatml": lambda: tokenizer("<|im_start|>", "<|im_end|>", bos=None, eos="<|endoftext|>", template=CHATML, adds_bos=False),
        "thinking": lambda: tokenizer(
            "<|im_start|>", "<|im_end|>", bos=None, eos="<|endoftext|>", template=THINKING, adds_bos=False
        ),
        "switched": lambda: tokenizer(
            "<|im_start|>", "<|im_end|>", bos=None, eos="<|endoftext|>", template=SWITCHED, adds_bos=False
        ),
        "zephyr": lambda: tokenizer(bos="<s>", eos="</s>", template=ZEPHYR, adds_bos=True),
        "llama3": lambda: tokenizer(
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            bos="<|begin_of_text|>",
            eos="<|end_of_text|>",
            template=LLAMA3,
            adds_bos=True,
        ),
        "gemma": lambda: tokenizer("<start_of_turn>", "<end_of_turn>", bos="<bos>", eos="<eos>", template=GEMMA, adds_bos=True),
        "mistral": lambda: tokenizer("[INST]", "[/INST]", bos="<s>", eos="</s>", template=MISTRAL, adds_bos=True),
    }[shape]()
    return Coder(made, context)


def text_of(made: Coder, encoded: Encoded) -> str:
    return str(made.tokenizer.decode(encoded.ids, clean_up_tokenization_spaces=False))


def shown(made: Coder, encoded: Encoded) -> str:
    """The text with what is learned in double brackets."""
    out, inside, run = "", False, []
    for token, learn in [*zip(encoded.ids, encoded.learn, strict=True), (None, False)]:
        if token is None or learn != inside:
            text = made.tokenizer.decode(run, clean_up_tokenization_spaces=False)
            out += f"⟦{text}⟧" if inside and run else text
            run, inside = [], learn
        run.append(token)
    return out


ASK: Turns = (Turn("system", "you are brief."), Turn("user", "Name the capital of France."))
CHAT: Turns = (*ASK, Turn("assistant", "Paris"), Turn("user", "Which one?"))

GOLDEN = {
    "plain": "you are brief.\n\nName the capital of France.\nAnswer:⟦ Paris<|end|>⟧",
    "plain_bos": "<s>you are brief.\n\nName the capital of France.\nAnswer:⟦ Paris</s>⟧",
    "chatml": "<|im_start|>system\nyou are brief.<|im_end|>\n<|im_start|>user\nName the capital of France.<|im_end|>\n"
    "<|im_start|>assistant\n⟦Paris<|im_end|>⟧",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nyou are brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nName the capital of France.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Paris<|eot_id|>⟧",
    "gemma": "<bos><start_of_turn>user\nyou are brief.\n\nName the capital of France.<end_of_turn>\n<start_of_turn>model\n"
    "⟦Paris<end_of_turn>⟧",
    "mistral": "<s>[INST] you are brief.\n\nName the capital of France. [/INST]⟦ Paris</s>⟧",
}
GOLDEN["thinking"] = GOLDEN["chatml"]

EVERY = {
    "plain": "you are brief.\n\nName the capital of France.\nAnswer:⟦ Paris⟧\n\nWhich one?\nAnswer:⟦ Berlin<|end|>⟧",
    "chatml": "<|im_start|>system\nyou are brief.<|im_end|>\n<|im_start|>user\nName the capital of France.<|im_end|>\n"
    "<|im_start|>assistant\n⟦Paris<|im_end|>⟧\n<|im_start|>user\nWhich one?<|im_end|>\n<|im_start|>assistant\n⟦Berlin<|im_end|>⟧",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nyou are brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nName the capital of France.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Paris<|eot_id|>⟧"
    "<|start_header_id|>user<|end_header_id|>\n\nWhich one?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Berlin<|eot_id|>⟧",
    "gemma": "<bos><start_of_turn>user\nyou are brief.\n\nName the capital of France.<end_of_turn>\n<start_of_turn>model\n"
    "⟦Paris<end_of_turn>⟧\n<start_of_turn>user\nWhich one?<end_of_turn>\n<start_of_turn>model\n⟦Berlin<end_of_turn>⟧",
    "mistral": "<s>[INST] you are brief.\n\nName the capital of France. [/INST]⟦ Paris</s>⟧[INST] Which one? [/INST]⟦ Berlin</s>⟧",
}


@pytest.mark.parametrize("shape", sorted(GOLDEN))
def test_the_answer_and_its_end_are_learned(shape: str) -> None:
    made = coder(shape)
    encoded = made.encode(ASK, "Paris")
    assert shown(made, encoded) == GOLDEN[shape]
    assert encoded.cut == 0
    assert made.render(ASK, "Paris").endswith(GOLDEN[shape].rpartition("⟦")[2].strip("⟧"))
    assert encoded.ids[-1] in made.stop_ids


@pytest.mark.parametrize("shape", sorted(EVERY))
def test_every_assistant_turn_of_a_chat_is_learned(shape: str) -> None:
    made = coder(shape)
    assert shown(made, made.encode(CHAT, "Berlin", every=True)) == EVERY[shape]
    last = made.encode(CHAT, "Berlin")
    assert shown(made, last).count("⟦") == 1
    assert last.ids == made.encode(CHAT, "Berlin", every=True).ids


@pytest.mark.parametrize("shape", sorted(GOLDEN))
def test_tokens_are_those_of_the_stock_tokenizer(shape: str) -> None:
    """One tokenisation of the whole text, with every special token of the template in its place."""
    made = coder(shape)
    for turns in (ASK, CHAT):
        stock = made.tokenizer(made.render(turns, "Paris"), add_special_tokens=False)["input_ids"]
        ids = made.encode(turns, "Paris").ids
        assert ids[len(ids) - len(stock) :] == stock
        assert len(ids) - len(stock) == (shape == "plain_bos")


@pytest.mark.parametrize("shape", sorted(GOLDEN))
def test_exactly_one_bos_where_the_tokenizer_adds_one(shape: str) -> None:
    made = coder(shape)
    wanted = 1 if shape in ("plain_bos", "llama3", "gemma", "mistral") else 0
    for encoded in (made.encode(ASK, "Paris"), made.encode(ASK), made.encode((), "It is sunny.")):
        bos = made.tokenizer.bos_token_id
        assert encoded.ids.count(bos) == wanted
        if wanted:
            assert encoded.ids[0] == bos
            assert not encoded.learn[0]


def test_a_chat_template_says_itself_whether_bos_stands_before_it() -> None:
    made = coder("zephyr")
    messages = [{"role": turn.role, "content": turn.text} for turn in ASK]
    stock = made.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert made.encode(ASK).ids == stock
    assert made.tokenizer.bos_token_id not in stock
    for plain in (made.encode((), "It is sunny."), made.encode((Turn("text", "It is"),))):
        assert plain.ids[0] == made.tokenizer.bos_token_id


def test_a_template_that_can_think_is_asked_for_the_answer_alone() -> None:
    made = coder("switched")
    prompt, taught = made.encode(ASK), made.encode(ASK, "Paris")
    assert text_of(made, prompt).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert taught.ids[: len(prompt.ids)] == prompt.ids
    assert shown(made, taught).endswith("</think>\n\n⟦Paris<|im_end|>⟧")


@pytest.mark.parametrize("shape", sorted(GOLDEN))
def test_the_prompt_is_where_generation_begins(shape: str) -> None:
    made = coder(shape)
    prompt = made.encode(ASK)
    assert not any(prompt.learn)
    assert text_of(made, prompt) == GOLDEN[shape].partition("⟦")[0]


def test_an_open_answer_has_no_end() -> None:
    made = coder("chatml")
    assert shown(made, made.encode(ASK, "Paris", close=False)).endswith("⟦Paris⟧")


def test_a_token_across_the_border_is_learned() -> None:
    """`:` and a blank line before the answer merge with it here; the prompt alone tokenises otherwise."""
    core = Tokenizer(
        models.BPE(vocab={**{c: i for i, c in enumerate("Answer: Yeso\n")}, ": ": 20, ": Y": 21}, merges=[(":", " "), (": ", "Y")])
    )
    core.add_special_tokens([AddedToken("<|end|>", special=True)])
    made = Coder(PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>"), 64)
    turns = (Turn("user", "s"),)
    encoded = made.encode(turns, "Yes")
    assert made.tokenizer.convert_ids_to_tokens(encoded.ids) == [*"s\nAnswer", ": Y", "e", "s", "<|end|>"]
    assert encoded.learn == [False] * 8 + [True] * 4
    assert encoded.ids[: len(made.encode(turns).ids)] != made.encode(turns).ids


@pytest.mark.parametrize("shape", ["chatml", "thinking", "llama3", "gemma", "mistral", "plain_bos"])
def test_special_tokens_in_rows_are_only_text(shape: str) -> None:
    made = coder(shape)
    end = made.template.end
    said = f"stop {end} and {made.tokenizer.bos_token or '<|im_start|>'}system"
    encoded = made.encode((Turn("user", said),), f"Paris {end} too")
    assert text_of(made, encoded).count(end) == made.render((Turn("user", "x"),), "y").count(end) + 2
    end_id = made.tokenizer.convert_tokens_to_ids(end)
    assert encoded.ids.count(end_id) == made.encode((Turn("user", "x"),), "y").ids.count(end_id)
    if made.tokenizer.bos_token_id is not None:
        assert encoded.ids.count(made.tokenizer.bos_token_id) == 1


def test_no_row_can_say_the_secret_name_of_a_special_token() -> None:
    one, other = coder("chatml"), coder("chatml")
    assert not set(one._marks.values()) & set(other._marks.values())
    said = "".join(other._marks.values())
    assert one.tokenizer.eos_token_id not in one.encode((Turn("user", said),)).ids
    assert one.encode(ASK, "Paris") == other.encode(ASK, "Paris")


def test_what_a_template_leaves_out_is_neither_kept_nor_learned() -> None:
    made = coder("thinking")
    turns = (*ASK, Turn("assistant", "<think>hm</think>Paris"), Turn("user", "Which one?"))
    encoded = made.encode(turns, "Berlin", every=True)
    assert shown(made, encoded) == EVERY["chatml"]


@pytest.mark.parametrize("shape", ["llama3", "gemma"])
def test_templates_that_trim_are_followed(shape: str) -> None:
    made = coder(shape)
    turns = (Turn("user", "  Name it. \n"), Turn("assistant", " Paris "), Turn("user", "user"))
    encoded = made.encode(turns, "Berlin", every=True)
    assert "\nName it.<" in shown(made, encoded)
    assert f"\n⟦Paris{made.template.end}⟧" in shown(made, encoded)


def test_an_empty_input_is_encoded() -> None:
    for shape in GOLDEN:
        made = coder(shape)
        assert made.encode((Turn("user", ""),), "Paris").ids


@pytest.mark.parametrize("text", ["漢字 and é, naïve", "🙂🙂", "a\u0301", "half \ud800 a pair"])
@pytest.mark.parametrize("shape", ["plain", "llama3"])
def test_any_letters_are_learned_whole(shape: str, text: str) -> None:
    made = coder(shape)
    encoded = made.encode((Turn("user", text),), text)
    learned = [token for token, learn in zip(encoded.ids, encoded.learn, strict=True) if learn]
    sound = text.encode("utf-8", "replace").decode()
    assert made.tokenizer.decode(learned[:-1], clean_up_tokenization_spaces=False) == made.template.lead + sound
    assert sum(encoded.learn) == len(made.encode((), made.template.lead + text).ids) - (shape == "llama3")


@pytest.mark.parametrize("shape", sorted(EVERY))
def test_cutting_shortens_the_longest_turn_in_its_middle(shape: str) -> None:
    made = coder(shape)
    long = "BEGIN " + "It is sunny. " * 60 + "FINIS"
    turns = (*(turn for turn in CHAT if turn.role == "system"), Turn("user", long))
    whole = made.encode(turns, "Berlin")
    encoded = made.encode(turns, "Berlin", limit=150)
    assert len(encoded.ids) == 150
    assert encoded.cut == len(whole.ids) - 150
    assert sum(encoded.learn) == sum(whole.learn)
    text, uncut = text_of(made, encoded), text_of(made, whole)
    at = uncut.index(long)
    assert text.startswith(uncut[:at] + "BEGIN")
    assert text.endswith("FINIS" + uncut[at + len(long) :])


@pytest.mark.parametrize("shape", sorted(EVERY))
def test_the_oldest_exchanges_go_first_and_whole(shape: str) -> None:
    made = coder(shape)
    shots = tuple(turn for n in range(6) for turn in (Turn("user", f"Shot {n}. It is sunny. " * 4), Turn("assistant", "Paris")))
    told = (Turn("system", "Which city?"),)
    question = (Turn("user", "And where does the river run?"),)
    room = len(made.encode((*told, *shots[4:], *question), "Berlin").ids)
    encoded = made.encode((*told, *shots, *question), "Berlin", limit=room + 3)
    fewer = made.encode((*told, *shots[4:], *question), "Berlin")
    assert encoded.ids == fewer.ids
    assert encoded.cut > 0


def test_long_answers_are_dropped_and_never_cut() -> None:
    made = coder("chatml", 64)
    with pytest.raises(TooLong):
        made.encode(ASK, "Paris " * 200)
    kept, tally = encode_all(made, [(ASK, "Paris " * 200), (ASK, "Paris"), ((Turn("user", "sunny " * 200),), "Paris")])
    assert (tally.kept, tally.cut, tally.dropped) == (2, 1, 1)
    assert tally.learned == sum(sum(row.learn) for row in kept)
    assert tally.learned + tally.read == sum(len(row.ids) for row in kept)


def test_a_long_conversation_loses_its_oldest_exchange() -> None:
    made = coder("chatml")
    turns = (
        Turn("system", "you are brief."),
        *(Turn(role, f"{n} It is sunny.") for n in range(20) for role in ("user", "assistant")),
    )
    turns = (*turns, Turn("user", "Which one?"))
    encoded = made.encode(turns, "Berlin", every=True, limit=200)
    text = text_of(made, encoded)
    assert len(encoded.ids) <= 200
    assert "you are brief." in text
    assert "19 It is sunny." in text
    assert "\n0 It is sunny." not in text
    assert shown(made, encoded).endswith("⟦Berlin<|im_end|>⟧")


def test_nothing_learnable_shows_an_example() -> None:
    made = coder("plain", 16)
    with pytest.raises(BadInput, match=r"no answer of 2 rows fits in 16 tokens; the first row reads .hi.nAnswer: Paris"):
        encode_all(made, [((Turn("user", "hi"),), "Paris " * 50)] * 2)
    with pytest.raises(BadInput, match="no rows"):
        encode_all(made, [])


def test_tool_turns_are_said_by_the_user_where_a_template_refuses_them() -> None:
    made = coder("gemma")
    turns = (Turn("user", "It is"), Turn("assistant", "look()"), Turn("tool", "sunny."), Turn("user", "Which one?"))
    assert "<start_of_turn>user\nsunny.\n\nWhich one?<end_of_turn>" in made.render(turns)
    assert "<|im_start|>tool\nsunny." in coder("chatml").render(turns)
    with pytest.raises(BadInput, match="refuses turns in the order assistant"):
        made.encode((Turn("assistant", "x"),), "y")


def test_a_blank_line_stops_plain_answers_after_shots_alone() -> None:
    assert coder("plain").stops(CHAT) == ("\n\n",)
    assert coder("plain").stops(ASK) == ()
    assert coder("chatml").stops(CHAT) == ()


def test_text_without_turns_is_learned_whole() -> None:
    made = coder("plain_bos")
    assert shown(made, made.encode((), "It is sunny.")) == "<s>⟦It is sunny.</s>⟧"
    assert shown(made, made.encode((), "It is sunny.", close=False)) == "<s>⟦It is sunny.⟧"


@pytest.mark.parametrize("text", ["x" * 50_000, "It is sunny. " * 4_000, "漢" * 50_000, "\n" * 50_000])
@pytest.mark.parametrize("shape", ["plain", "chatml"])
def test_rows_of_50k_characters_are_quick(shape: str, text: str) -> None:
    made = coder(shape)
    begun = time.process_time()
    encoded = made.encode((Turn("user", text),), "Paris")
    assert len(encoded.ids) == 512
    assert time.process_time() - begun < 3


def test_thousands_of_rows_are_quick() -> None:
    made = coder("chatml")
    begun = time.process_time()
    encode_all(made, [(ASK, "Paris")] * 4000)
    assert time.process_time() - begun < 12


@pytest.mark.parametrize("name", ["stories260K", "stories15M_relearned"])
def test_real_tokenizers(shared: Path, name: str) -> None:
    stock = AutoTokenizer.from_pretrained(shared / "models" / name)
    made = Coder(stock, 256)
    for text in ("Once upon a time.\n\nIt sat.", " lead", "漢字 é", "", "two  blanks", "\n"):
        assert made.encode((), text, close=False).ids == stock(text)["input_ids"]
    encoded = made.encode((Turn("user", "Where </s> is it?"),), "Paris 漢")
    learned = [token for token, learn in zip(encoded.ids, encoded.learn, strict=True) if learn]
    assert stock.decode(learned) in ("Paris 漢</s>", " Paris 漢</s>")
    assert encoded.ids.count(1) == 1
    assert encoded.ids.count(2) == 1
