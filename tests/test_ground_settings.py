"""Settings: recipe < file < flag, written and read back, refused by name when they cannot work."""

import dataclasses
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neogpt import compared, config
from neogpt.config import AnyRun
from neogpt.errors import ConfigError
from neogpt.recipes import tinyworld


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


@st.composite
def runs(draw: st.DrawFn) -> AnyRun:
    """Any run of the tinyworld recipe, with many settings changed."""
    run = getattr(tinyworld, draw(st.sampled_from(["pretrain", "sft", "dpo"])))()
    text = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8)
    return dataclasses.replace(
        run,
        init_from=draw(text),
        seed=draw(st.integers(0, 2**40)),
        steps=draw(st.integers(0, 10**9)),
        dtype=draw(st.sampled_from(["auto", "float32", "bfloat16"])),
        compile=draw(st.booleans()),
        spike_sigma=draw(numbers(0, 100)),
        optim=dataclasses.replace(
            run.optim, lr=draw(numbers(0, 1)), schedule=draw(st.sampled_from(["cosine", "constant"]))
        ),
        eval=dataclasses.replace(
            run.eval, names=tuple(draw(st.lists(st.sampled_from(["tinyworld", "a-b", "x"]), max_size=3)))
        ),
        data=dataclasses.replace(run.data, tokenizer=draw(text)),
        source=dataclasses.replace(run.source, seed=draw(st.integers(-5, 5))),
    )


@given(runs())
@settings(max_examples=25)
def test_settings_written_are_the_settings_read(run: AnyRun) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "config.toml"
        config.save(run, path)
        assert config.parse(getattr(tinyworld, run.stage)(), file=path) == run
    stored = json.loads(json.dumps(config.to_dict(run)))
    assert compared.differences(stored, config.to_dict(run)) == []
    assert config.digest(stored) == config.digest(config.to_dict(run))


def test_recipe_file_flag_in_that_order(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("steps = 10\nseed = 3\n[optim]\nlr = 0.5\n")
    run = config.parse(tinyworld.pretrain(), ["--seed", "4"], file)
    assert (run.steps, run.seed, run.optim.lr, run.batch.size) == (10, 4, 0.5, 16)


def test_tokens_asked_for_replace_the_recipes_steps() -> None:
    assert config.parse(tinyworld.pretrain(), ["--tokens", "5000"]).steps == 0
    both = config.parse(tinyworld.pretrain(), ["--tokens", "5000", "--steps", "3"])
    assert (both.tokens, both.steps) == (5000, 3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stepz = 3", "did you mean steps"),
        ("[optim]\nlearning_rate = 1", "optim.learning_rate"),
        ("[optm]\nlr = 1", "did you mean optim.lr"),
        ("optim = 3", "no setting named 'optim'"),
        ('stage = "sft"', "'pretrain', which runs here"),
        ("steps = ", "not TOML"),
    ],
)
def test_a_wrong_settings_file_is_named_with_what_was_meant(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        config.parse(tinyworld.pretrain(), file=file)
    assert str(file) in str(caught.value)


def test_no_settings_file_and_a_binary_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        config.read_toml(tmp_path / "absent.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not TOML"):
        config.read_toml(tmp_path / "b.toml")


@pytest.mark.parametrize(
    "flags",
    ["--optim.lr=-1", "--optim.lr=nan", "--optim.beta1=1", "--optim.warmup-ratio=2", "--seed=-1", "--threads=-1",
     "--eval.every=-1", "--save.keep-last=-1", "--spike-sigma=inf", "--model.n-layer=0", "--model.n-head=3"],
)  # fmt: skip
def test_impossible_values_are_refused_before_anything_runs(flags: str) -> None:
    with pytest.raises(ConfigError):
        config.parse(tinyworld.pretrain(), [flags])


def test_differences_name_each_field() -> None:
    old = config.parse(tinyworld.pretrain(), ["--optim.lr", "0.003", "--seed", "0"])
    new = config.parse(old, ["--optim.lr", "0.5", "--seed", "9"])
    lines = compared.differences(config.to_dict(old), config.to_dict(new))
    assert lines == ["optim.lr: 0.003 -> 0.5", "seed: 0 -> 9"]
