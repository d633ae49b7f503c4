"""GGUF files: llama.cpp and transformers read them, give our ids, our greedy answers and our log-probabilities."""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from generation_models import byte_tokenizer, random_model, saved, scripted_model
from hypothesis import given
from hypothesis import strategies as st
from llama_cpp import LlamaCpp
from training import probe, tiny

from neogpt.config import GPT2Config
from neogpt.errors import NeoGPTError
from neogpt.export import gguf as exporter
from neogpt.export.bundle import ModelBundle, open_bundle
from neogpt.export.card import Card
from neogpt.generate import Engine, Sampling
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer, template
from neogpt.train import train

gguf = pytest.importorskip("gguf", reason="the extra `export`")

TEXTS = [
    "With a torch you can",
    "Kelom lives in the house of the baker.",
    "I'll, we've, they'RE; don't 'tis",
    "tabs\tand\n\n  indents\r\n   and a tail  \n ",
    "prices: 3.50 €, ½, ٣ and Ⅷ",
    "漢字 かな 한국어 ไทย עברית हिन्दी",
    "e\u0301 \u200b\u200d\ufeff \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\x00\x1c\x85\xa0\u2028\u3000",
    "a" * 500 + " " * 200 + "\n" * 50,
    "<|endoftext|> <|endoftext",
    " ",
]
PROMPTS = ["With a torch you can", "The smell of", "Where does the baker live?", "In", "é🙂"]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has read a little of tinyworld: its distributions are far from flat, its vocabulary is its own."""
    folder = tmp_path_factory.mktemp("export") / "run"
    settings = (
        "--steps 80 --save.every 80 --eval.every 0 --model.n-embd 64 --model.n-head 4 --batch.size 16"
        " --optim.name muon --optim.lr 0.02"
    )
    train(tiny("pretrain", *settings.split()), folder, evaluate=probe)
    return folder


@pytest.fixture(scope="session")
def bundle(run_folder: Path) -> ModelBundle:
    return open_bundle(run_folder)


@pytest.fixture(scope="session")
def file(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exporter.write(bundle, tmp_path_factory.mktemp("gguf") / "model.gguf").file


@pytest.fixture(scope="session")
def llama(file: Path) -> Iterator[LlamaCpp]:
    with LlamaCpp(file) as server:
        yield server


def bundle_of(model: GPT2, tokenizer: Tokenizer | None = None, chat_template: str = "") -> ModelBundle:
    return ModelBundle(Path("model"), model, tokenizer or byte_tokenizer(), chat_template, Card("a model"))


def worst_error(server: LlamaCpp, model: GPT2, tokenizer: Tokenizer) -> float:
    """The largest difference of any log-probability after any prefix of a few prompts."""
    worst, n_ids = 0.0, model.config.vocab_size
    for prompt in PROMPTS[:3]:
        ids = [tokenizer.eot_id, *tokenizer.encode(prompt)]
        with torch.no_grad():
            expected_TV = model(torch.tensor([ids]))[0].log_softmax(-1)
        for n in range(1, len(ids) + 1):
            found_V = torch.tensor(server.log_probs(ids[:n], n_ids))
            worst = max(worst, float((found_V - expected_TV[n - 1]).abs().max()))
    return worst


# llama.cpp


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_llama_cpp_cuts_texts_as_we_do(text: str, llama: LlamaCpp, bundle: ModelBundle) -> None:
    assert llama.ids(text) == bundle.tokenizer.encode(text)


@given(
    st.text(st.sampled_from(" \t\n\r'sdltrevm aé1½٣.-\u0301\u2009\u3000字🙂") | st.characters(codec="utf-8"))
)
def test_llama_cpp_cuts_any_text_as_we_do(llama: LlamaCpp, bundle: ModelBundle, text: str) -> None:
    assert llama.ids(text) == bundle.tokenizer.encode(text)


@pytest.mark.slow
def test_llama_cpp_cuts_every_character_as_we_do(llama: LlamaCpp, bundle: ModelBundle) -> None:
    """Letter, number, space or other: the two programs have tables of their own, of Unicode versions of their own."""
    known = [c for i in range(0x110000) if unicodedata.category(c := chr(i)) not in ("Cs", "Co", "Cn")]
    assert len(known) > 140_000
    for start in range(0, len(known), 500):
        text = "\n".join(f"a{c}1{c} {c}.{c}{c}a  {c} 's{c}" for c in known[start : start + 500])
        assert llama.ids(text) == bundle.tokenizer.encode(text)


def test_llama_cpp_cuts_as_we_do_with_gpt2s_vocabulary(real_data: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.gpt2(real_data / "tokenizer")
    model = GPT2(
        GPT2Config(n_layer=1, n_head=1, n_embd=4, n_positions=8, vocab_size=tokenizer.vocab_size)
    ).eval()
    exporter.write(bundle_of(model, tokenizer), tmp_path / "model.gguf", "f16")
    with LlamaCpp(tmp_path / "model.gguf") as server:
        for text in TEXTS:
            assert server.ids(text) == tokenizer.encode(text)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_answers_are_the_engines(prompt: str, llama: LlamaCpp, bundle: ModelBundle) -> None:
    """A text alone is enough: llama.cpp begins it with end-of-text, as a document begins in training."""
    ids = [bundle.tokenizer.eot_id, *bundle.tokenizer.encode(prompt)]
    engine = Engine(bundle.model, bundle.tokenizer)
    [expected] = engine.complete([ids], Sampling(max_new_tokens=24, temperature=0))
    assert len(set(expected.tokens)) > 3
    assert llama.greedy(prompt, 24) == expected.tokens


@pytest.mark.parametrize(("exact", "bound"), [(True, 0.005), (False, 0.03)])
def test_log_probabilities_are_ours_to_llama_cpps_own_error(
    exact: bool, bound: float, file: Path, bundle: ModelBundle
) -> None:
    """Its GELU is a table of float16 numbers; by default its attention and its cache are float16 too."""
    with LlamaCpp(file, exact) as server:
        assert 1e-5 < worst_error(server, bundle.model, bundle.tokenizer) < bound


def test_chat_through_llama_cpps_server_is_ours(llama: LlamaCpp, bundle: ModelBundle) -> None:
    question, context = "Where does the baker live?", "The baker lives in Kelom."
    messages = [{"role": "system", "content": context}, {"role": "user", "content": question}]
    answer = llama.post("/v1/chat/completions", messages=messages, max_tokens=24, temperature=0)
    ids = template.encode_prompt(bundle.tokenizer, question, context)
    sampling = Sampling(max_new_tokens=24, temperature=0)
    [expected] = Engine(bundle.model, bundle.tokenizer).complete([ids], sampling)
    assert answer["usage"]["prompt_tokens"] == len(ids)
    assert answer["choices"][0]["message"]["content"] == expected.text


def test_several_turns_of_chat_are_ours(llama: LlamaCpp, bundle: ModelBundle) -> None:
    turns = [
        template.Turn("Who sings?", "", "The miller does."),
        template.Turn("And who else?", "", "Nobody."),
    ]
    roles = [("user", turn.instruction, "assistant", turn.response) for turn in turns]
    messages = [
        {"role": role, "content": text}
        for user, asked, assistant, said in roles
        for role, text in ((user, asked), (assistant, said))
    ] + [{"role": "user", "content": "Why?"}]
    prompt = llama.post("/apply-template", messages=messages)["prompt"]
    ids = template.encode_prompt(bundle.tokenizer, "Why?", history=turns)
    assert llama.ids(prompt, add_special=True, parse_special=True) == ids


def test_end_of_text_ends_a_text(tmp_path: Path) -> None:
    """llama.cpp stops where the engine does: a model that says end-of-text says no more."""
    tokenizer = byte_tokenizer()
    script = [5, 6, 7, 8, tokenizer.eot_id, 9, 10, 11]
    exporter.write(bundle_of(scripted_model(script, tokenizer.vocab_size)), tmp_path / "model.gguf")
    with LlamaCpp(tmp_path / "model.gguf") as server:
        answer = server.post("/completion", prompt=[1], n_predict=7, temperature=0, return_tokens=True)
    assert answer["tokens"][:4] == [5, 6, 7, 8]
    assert answer["stop_type"] == "eos"


@pytest.mark.parametrize(
    ("n_head", "n_embd", "extra_ids", "dtype"),
    [(3, 33, 0, "f32"), (1, 35, 7, "f16"), (7, 49, 0, "bf16"), (2, 48, 3, "q8_0"), (5, 35, 0, "q8_0")],
)
def test_odd_widths_and_vocabularies_load(
    n_head: int, n_embd: int, extra_ids: int, dtype: exporter.Dtype, tmp_path: Path
) -> None:
    tokenizer = byte_tokenizer()
    shape = GPT2Config(
        n_layer=2, n_head=n_head, n_embd=n_embd, n_positions=31, vocab_size=tokenizer.vocab_size + extra_ids
    )
    model, source = GPT2(shape, seed=3).eval(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=source) * 0.1
            weight.mul_(6) if weight.dim() == 2 else weight.add_(noise)
    exporter.write(bundle_of(model), tmp_path / "model.gguf", dtype)
    with LlamaCpp(tmp_path / "model.gguf") as server:
        assert worst_error(server, model, tokenizer) < (0.06 if dtype in ("bf16", "q8_0") else 0.006)


def test_llama_cpp_cannot_load_a_vocabulary_without_merges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is why we refuse one; if this test fails, it has learned to."""
    bytes_alone = Tokenizer.train(["ab"], vocab_size=257)
    model = random_model(vocab_size=bytes_alone.vocab_size)
    monkeypatch.setattr(exporter, "_check_merges", lambda bundle: None)
    exporter.write(bundle_of(model, bytes_alone), tmp_path / "model.gguf")
    with pytest.raises(RuntimeError):
        LlamaCpp(tmp_path / "model.gguf")


# transformers


def test_transformers_reads_the_file_back(file: Path, bundle: ModelBundle) -> None:
    """Told the context: it keeps `gpt2.context_length` as `n_ctx`, which its GPT-2 does not read."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    n_positions = bundle.model.config.n_positions
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, n_positions=n_positions)
    found = theirs.state_dict()
    for name, tensor in bundle.model.state_dict().items():
        assert torch.equal(found[name], tensor), name
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for text in TEXTS:
        ids = tokenizer(text, split_special_tokens=True)["input_ids"]
        assert ids == [bundle.tokenizer.eot_id, *bundle.tokenizer.encode(text)]
    assert tokenizer.chat_template == template.chat_template()
    assert tokenizer.eos_token_id == bundle.tokenizer.eot_id


def test_transformers_still_takes_the_context_from_another_key(file: Path) -> None:
    """If this test fails, docs/export.md can drop `n_positions=`."""
    from transformers import AutoModelForCausalLM

    with pytest.raises(RuntimeError):
        AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)


# The numbers in the file


def stored(file: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Each tensor's type and its numbers, by gguf's own reader."""
    tensors = gguf.GGUFReader(file).tensors
    return {t.name: (t.tensor_type.name.lower(), gguf.dequantize(t.data, t.tensor_type)) for t in tensors}


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_numbers_are_rounded_as_torch_rounds(
    dtype: exporter.Dtype, bundle: ModelBundle, tmp_path: Path
) -> None:
    torch_dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
    written = exporter.write(bundle, tmp_path / "model.gguf", dtype)
    found = stored(tmp_path / "model.gguf")
    assert not written.fallbacks
    assert len(found) == len(bundle.model.state_dict())
    for name, tensor in bundle.model.state_dict().items():
        kind, array = found[exporter.tensor_name(name)]
        narrow = tensor.dim() == 2 and "wpe" not in name
        assert kind == (dtype if narrow else "f32")
        expected = tensor.to(torch_dtype if narrow else torch.float32).float()
        expected = expected.T if name.startswith("transformer.h.") and tensor.dim() == 2 else expected
        assert np.array_equal(array, expected.numpy()), name


def test_8_bit_blocks_are_rounded_to_the_nearest_step(bundle: ModelBundle, tmp_path: Path) -> None:
    """Each block of 32 has a step of a 127th of its largest number; no number is off by more than half a step."""
    exporter.write(bundle, tmp_path / "model.gguf", "q8_0")
    kind, array = stored(tmp_path / "model.gguf")["blk.1.ffn_down.weight"]
    original = bundle.model.state_dict()["transformer.h.1.mlp.c_proj.weight"].T.numpy().reshape(-1, 32)
    step = np.abs(original).max(axis=1, keepdims=True) / 127
    off = np.abs(array.reshape(-1, 32) - original) / step
    assert kind == "q8_0"
    assert 0.4 < off.max() < 0.5 + 127 * 2**-11  # the step itself is stored as a float16


def test_what_a_type_cannot_hold_falls_back_and_is_named(tmp_path: Path) -> None:
    model = random_model()
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight[0, 0] = 1e5
    assert exporter.write(bundle_of(model), tmp_path / "a.gguf", "q8_0").fallbacks == ()
    [held] = exporter.write(bundle_of(model), tmp_path / "b.gguf", "f16").fallbacks
    assert (held.name, held.dtype) == ("blk.1.ffn_up.weight", "f32")
    assert "1e+05" in held.reason
    narrow = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=24, n_positions=8, vocab_size=270))
    written = exporter.write(bundle_of(narrow), tmp_path / "c.gguf", "q8_0")
    kinds = {tensor.name: tensor.dtype for tensor in written.fallbacks}
    # A row of ffn_down has 4 x 24 = 96 numbers, three blocks.
    names = ("token_embd", "blk.0.attn_qkv", "blk.0.attn_output", "blk.0.ffn_up")
    assert kinds == {f"{name}.weight": "f16" for name in names}
    found = {name: kind for name, (kind, _) in stored(tmp_path / "c.gguf").items()}
    assert found["blk.0.ffn_down.weight"] == "q8_0"
    assert {name: found[name] for name in kinds} == kinds


def test_the_file_says_what_the_model_is(run_folder: Path, file: Path, bundle: ModelBundle) -> None:
    reader = gguf.GGUFReader(file)
    values = {name: field.contents() for name, field in reader.fields.items()}
    eot, config = bundle.tokenizer.eot_id, bundle.model.config
    expected = {
        "general.architecture": "gpt2", "general.name": "tinyworld: pretrain", "general.file_type": 0,
        "general.tags": ["gpt2", "neogpt", "pretrain"],
        "gpt2.context_length": config.n_positions, "gpt2.block_count": 2, "gpt2.attention.head_count": 4,
        "gpt2.embedding_length": 64, "gpt2.feed_forward_length": 256,
        "gpt2.attention.layer_norm_epsilon": pytest.approx(1e-5),
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": eot, "tokenizer.ggml.eos_token_id": eot,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": template.chat_template(),
    }  # fmt: skip
    assert {name: values.get(name) for name in expected} == expected
    assert "80 steps" in values["general.description"]
    assert values["tokenizer.ggml.tokens"][eot] == "<|endoftext|>"
    assert [i for i, kind in enumerate(values["tokenizer.ggml.token_type"]) if kind == 3] == [eot]
    assert len(values["tokenizer.ggml.tokens"]) == config.vocab_size


def test_the_same_model_gives_the_same_bytes(bundle: ModelBundle, file: Path, tmp_path: Path) -> None:
    assert exporter.write(bundle, tmp_path / "again.gguf").file.read_bytes() == file.read_bytes()


def test_a_folder_of_another_programs_is_read_with_its_card_and_template(tmp_path: Path) -> None:
    """As transformers 5 saves it: the template in a file of its own, a card with licence, languages and origins."""
    folder = Path(saved(random_model(), tmp_path / "model"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert open_bundle(folder).chat_template == ""
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    head = "license: mit\nlanguage: [en, de]\nbase_model: openai-community/gpt2\ndatasets:\n- a/b\n- c/d\n"
    (folder / "README.md").write_text(f"---\n{head}---\n\n# My model #\n\nIt says\nthings.\n\nMore.\n")
    found = open_bundle(folder)
    assert found.chat_template == "{{ messages[0].content }}"
    assert found.card == Card(
        "My model", "It says things.", "mit", (), ("en", "de"), ("openai-community/gpt2",), ("a/b", "c/d")
    )
    exporter.write(found, tmp_path / "model.gguf")
    values = {
        name: field.contents() for name, field in gguf.GGUFReader(tmp_path / "model.gguf").fields.items()
    }
    assert values["general.license"] == "mit"
    assert values["general.base_model.0.repo_url"] == "https://huggingface.co/openai-community/gpt2"
    assert values["general.dataset.count"] == 2


def test_a_card_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    folder = Path(saved(random_model(), tmp_path / "model"))
    (folder / "README.md").write_text("---\nlicense: [mit\n---\nNo heading here.\n")
    found = open_bundle(folder)
    assert (found.card.name, found.card.description) == ("model", "No heading here.")
    [note] = exporter.write(found, tmp_path / "model.gguf").notes
    assert "YAML" in note


# What cannot be exported


def code_of(call: object, *args: object) -> str:
    with pytest.raises(NeoGPTError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code


def test_a_vocabulary_without_merges_is_refused(tmp_path: Path) -> None:
    bytes_alone = Tokenizer.train(["ab"], vocab_size=257)
    assert bytes_alone.bpe.merges == []
    target = tmp_path / "model.gguf"
    found = code_of(exporter.write, bundle_of(random_model(vocab_size=257), bytes_alone), target)
    assert found == "export.no_merges"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    model = random_model()
    with torch.no_grad():
        model.transformer.h[0].ln_1.bias[3] = value
    assert code_of(exporter.write, bundle_of(model), tmp_path / "model.gguf", "f16") == "export.not_finite"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_text("before")
    calls = iter(range(100))

    def quantize(array: np.ndarray, kind: object) -> np.ndarray:
        if next(calls) == 5:
            raise OSError(28, "No space left on device")
        return array

    monkeypatch.setattr(gguf, "quantize", quantize)
    assert code_of(exporter.write, bundle_of(random_model()), tmp_path / "model.gguf") == "export.disk"
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    assert (tmp_path / "model.gguf").read_text() == "before"


def test_without_the_package_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from neogpt.cli.main import main

    monkeypatch.setitem(sys.modules, "gguf", None)
    assert main(["export", str(tmp_path), "--to", "gguf", "--out", str(tmp_path / "x.gguf")]) == 2
    assert "neogpt[export]" in capsys.readouterr().err


def test_a_model_of_another_family_or_a_vocabulary_too_large_is_refused(tmp_path: Path) -> None:
    folder = Path(saved(random_model(vocab_size=200), tmp_path / "small"))
    assert code_of(open_bundle, folder) == "export.vocabulary"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    assert code_of(open_bundle, folder) == "model.not_gpt2"


def test_a_broken_chat_template_is_refused(tmp_path: Path) -> None:
    folder = Path(saved(random_model(), tmp_path / "model"))
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    assert code_of(open_bundle, folder) == "export.chat_template"


# The command


def test_the_command_writes_and_says_what_fell_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from neogpt.cli.main import main

    model = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=24, n_positions=8, vocab_size=270))
    folder, out = saved(model, tmp_path / "model"), tmp_path / "new" / "model.gguf"
    assert main(["export", folder, "--to", "gguf", "--dtype", "q8_0", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == out.stat().st_size
    assert "blk.0.attn_qkv.weight" in [tensor["name"] for tensor in found["fallbacks"]]
    assert main(["export", folder, "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["export", folder, "--out", str(out), "--force"]) == 0
    assert "16 tensors" in capsys.readouterr().out
    assert main(["export", folder, "--out", str(tmp_path)]) == 2
    assert main(["export", str(tmp_path / "nothing"), "--out", str(tmp_path / "x.gguf")]) == 4
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.gguf"]
