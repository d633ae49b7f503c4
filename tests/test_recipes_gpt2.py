"""The published GPT-2 recipes: their figures against the papers' tables and build-nanogpt's own code."""

import math

import pytest

from neogpt import config
from neogpt.batching import fits
from neogpt.cli import _train
from neogpt.config import AnyRun
from neogpt.objectives.pretrain import Config
from neogpt.optim.schedule import learning_rate

PUBLISHED = {
    # name: layers, heads, width (Radford et al. 2019 and the released models), peak rate (Brown et al. 2020, table 2.1)
    "gpt2-124m": (12, 12, 768, 6e-4),
    "gpt2-355m": (24, 16, 1024, 3e-4),
    "gpt2-774m": (36, 20, 1280, 2.5e-4),
    "gpt2-1.5b": (48, 25, 1600, 2e-4),
}
FAST = "gpt2-124m-fast"


def recipe(name: str) -> AnyRun:
    return _train.recipe("pretrain", name)


def seq_len(run: AnyRun) -> int:
    assert isinstance(run.objective, Config)
    return run.objective.seq_len


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_shapes_and_rates_are_the_published_ones(name: str, published: tuple[int, int, int, float]) -> None:
    run = recipe(name)
    assert (run.model.n_layer, run.model.n_head, run.model.n_embd, run.optim.lr) == published
    assert (run.model.n_positions, seq_len(run), run.data.tokenizer) == (1024, 1024, "gpt2")
    assert (run.optim.name, run.optim.beta1, run.optim.beta2, run.optim.max_grad_norm) == (
        "adamw",
        0.9,
        0.95,
        1.0,
    )
    assert (run.optim.weight_decay, run.optim.eps, run.spike_sigma) == (0.1, 1e-8, 6.0)


def build_nanogpt_lr(step: int, peak: float) -> float:
    """train_gpt2.py of build-nanogpt: warm-up of 715 steps, cosine to a tenth at step 19,073."""
    if step < 715:
        return peak * (step + 1) / 715
    ratio = (step - 715) / (19073 - 715)
    return 0.1 * peak + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (peak - 0.1 * peak)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_schedule_is_build_nanogpts_and_ends_where_the_run_ends(name: str) -> None:
    run = recipe(name)
    steps = round(run.tokens / (run.batch.size * seq_len(run)))
    assert (steps, run.batch.size * seq_len(run)) == (19073, 524_288)
    for step in (0, 1, 713, 714, 715, 716, 5000, 10_000, 19_072):
        found = learning_rate(step, steps, run.optim)
        assert found == pytest.approx(build_nanogpt_lr(step, run.optim.lr), rel=1e-12)


@pytest.mark.parametrize("name", [*PUBLISHED, FAST])
def test_every_usual_number_of_gpus_can_share_a_step(name: str) -> None:
    assert all(fits(recipe(name).batch.micro_batches, world) for world in (1, 2, 4, 8))


def test_fast_is_the_same_model_and_context() -> None:
    slow, fast = recipe("gpt2-124m"), recipe(FAST)
    assert (fast.model, fast.data, fast.objective) == (slow.model, slow.data, slow.objective)
    assert fast.tokens < slow.tokens


@pytest.mark.parametrize("name", [*PUBLISHED, FAST])
def test_dry_run_prints_the_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train.run("pretrain", [name, "--dry-run", "--steps", "10"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"# run: runs/{name}\n")  # as launch/ and the README have it
    assert f'recipe = "{name}"' in shown
    assert "steps = 10\ntokens = 0\n" in shown


def test_steps_asked_for_replace_the_recipes_tokens() -> None:
    assert config.parse(recipe("gpt2-124m"), ["--steps", "5"]).tokens == 0
    both = config.parse(recipe("gpt2-124m"), ["--steps", "5", "--tokens", "9"])
    assert (both.steps, both.tokens) == (5, 9)


@pytest.mark.parametrize("name", [*PUBLISHED, FAST])
def test_a_save_stands_before_each_evaluation(name: str) -> None:
    """HellaSwag takes minutes, and a machine may be taken away in them."""
    run = recipe(name)
    assert run.eval.every % run.save.every == 0
