"""What a run of learning by reward writes down: every figure that its page names, and none over another."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_objectives import SHAPE, base, settings, tokenizer  # noqa: F401
from test_rl import _own_cache_for_module, objective, options  # noqa: F401

from neogpt import ledger
from neogpt.config import BatchConfig
from neogpt.data.sources import tinyworld
from neogpt.errors import NeoGPTError
from neogpt.model import load_pretrained
from neogpt.objectives.base import LossTerms
from neogpt.objectives.batching import as_held
from neogpt.objectives.rl.objective import RL
from neogpt.paths import RunDir
from neogpt.records import Pair, RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.train import reduce
from neogpt.train.parallel.distributed import World
from neogpt.train.run import train

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rl.md"


@pytest.fixture(scope="module")
def rows(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:  # noqa: F811
    """The metrics ledger of two steps."""
    run: Any = settings(
        "rl",
        options(max_completion_length=20),
        init_from=str(base),
        batch=BatchConfig(size=4, micro_batches=2),
        steps=2,
    )
    folder = tmp_path_factory.mktemp("rl") / "run"
    train(run, folder)
    return ledger.read(RunDir(folder).metrics)


def named() -> set[str]:
    """The figures that the page names under "What the ledger has", for the rewards of this test."""
    text = PAGE.read_text().partition("## What the ledger has\n\n")[2].partition("\n\n")[0]
    names = set(re.findall(r"`([a-z_0-9]+(?:/NAME)?)`", text)) - {"_std"}
    assert {"reward", "rewards/NAME", "stop", "kl"} <= names
    rewards = {"reward", *(f"rewards/{name}" for name in ("length", "repetition"))}
    return (names - {"rewards/NAME"}) | rewards | {f"{name}_std" for name in rewards}


def test_a_step_tells_all_that_the_page_names(rows: list[dict[str, Any]]) -> None:
    steps = [row for row in rows if "grad_norm" in row]
    assert len(steps) == 2
    for row in steps:
        assert named() <= row.keys()
        assert 0 <= row["stop"] <= 1


@pytest.mark.parametrize("name", ["loss", "tokens", "lr", "grad_norm", "step", "skipped", "loss/one"])
def test_a_metric_takes_no_name_of_the_rows_own(name: str) -> None:
    one = torch.tensor(1.0)
    row = LossTerms({"one": one, "two": one}, {name: (0.5, 1.0)})
    with pytest.raises(NeoGPTError, match=f"metric {name}, "):
        reduce.Sums.of([row]).means({"one": 1.0, "two": 1.0}, {"one": 1.0, "two": 1.0})


class WithoutFloat64(torch.Tensor):
    """A tensor on a device that has no float64, such as MPS."""

    device = torch.device("mps")  # type: ignore[assignment]

    def double(self) -> torch.Tensor:
        raise TypeError("this device has no float64")

    def to(self, *args: Any, **options: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_sums_ask_no_device_for_float64() -> None:
    value = torch.tensor(0.5).as_subclass(WithoutFloat64)
    row = LossTerms({"one": value}, {"reward": (value, 2.0)})
    found = reduce.Sums.of([row, row]).gather(World()).means({"one": 2.0}, {"one": 1.0})
    assert found == {"loss": 2.0, "reward": 0.25}
    assert as_held(np.ones(2), "mps").dtype == np.float32
    assert as_held(np.ones(2), "cpu").dtype == as_held(np.ones(2), "cuda").dtype == np.float64
    assert as_held(np.ones(2, np.int64), "mps").dtype == np.int64


def test_variety_does_not_depend_on_how_the_step_is_cut(tokenizer: Tokenizer, base: Path) -> None:  # noqa: F811
    """Different pairs of tokens are counted in each prompt's group; against a count by hand."""
    found = []
    for micro_batches in (1, 4):
        made = objective(tokenizer, load_pretrained(base), micro_batches)
        batches = [made.batch(0, micro) for micro in range(micro_batches)]
        found.append(np.concatenate([batch.extra["distinct"] for batch in batches]).sum(0).tolist())
        by_hand = np.zeros(2)
        for batch in batches:
            rows = [t[w > 0].tolist() for t, w in zip(batch.targets, batch.weights, strict=True)]
            for start in range(0, len(rows), 4):
                pairs = [pair for row in rows[start : start + 4] for pair in itertools.pairwise(row)]
                by_hand += len(set(pairs)), len(pairs)
        assert found[-1] == by_hand.tolist()


# --- SFT mix-in: what is left out of it, and which of its prompts are examined ------------------------------


def of_lengths(*repeats: int) -> list[Pair]:
    """Pairs whose prompts and chosen answers are some words longer each."""
    return [
        Pair(f"Tell me {i} of " + "the sea and " * n, "", f"It is {i}.", "No.") for i, n in enumerate(repeats)
    ]


def test_what_is_left_out_of_the_sft_mix_is_counted(
    tokenizer: Tokenizer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, long = of_lengths(*[1] * 40), of_lengths(*[200] * 3)
    cut = [Pair(f"Go on {i}.", "", "and on " * 200, "No.") for i in range(2)]
    blank = [Pair("Say nothing.", "", " ", "No.")]
    made = rl_of([*good, *long, *cut, *blank], tokenizer, monkeypatch)
    assert made.data_counts["sft_mix"] + made.data_counts["sft_mix, held_out"] == 42
    assert made.data_counts["sft_mix, truncated"] == 2
    assert made.data_counts["sft_mix, filtered"] == 4
    assert made.data_counts["sft_mix, filtered, prompt too long"] == 3
    assert made.data_counts["sft_mix, filtered, blank answer"] == 1
    assert made.data_counts["sft_mix, bad rows, no preference"] == 1


def test_requests_that_are_too_long_for_rl_are_counted(tokenizer: Tokenizer) -> None:  # noqa: F811
    """Those behind which no answer of `max_completion_length` fits into the model's context."""
    lengths = {}
    for new_tokens in (10, SHAPE.n_positions - 15):
        made = RL(settings("rl", options(max_completion_length=new_tokens)), tokenizer, SHAPE.n_positions)
        lengths[new_tokens] = [len(prompt.ids) for prompt in made.prompts + made.held_out]
        refused = made.data_counts.get("filtered, prompt too long", 0)
        assert refused == len(lengths[10]) - len(lengths[new_tokens])
        assert max(lengths[new_tokens]) <= SHAPE.n_positions - new_tokens
    assert refused > 0


def test_prompts_without_room_to_end_are_not_examined(
    tokenizer: Tokenizer,  # noqa: F811
    base: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = 75 // len(tokenizer.encode("the sea and "))
    made = rl_of(of_lengths(*[1, many] * 20), tokenizer, monkeypatch, max_completion_length=40)
    made.begin(load_pretrained(base))
    asked: list[int] = []
    answers = made.sampler.answers

    def noted(model: Any, prompts: Any, *args: Any, **options: Any) -> Any:
        asked.extend(len(prompt.ids) for prompt in prompts)
        return answers(model, prompts, *args, **options)

    monkeypatch.setattr(made.sampler, "answers", noted)
    assert max(map(len, made.sft_mix.prompts)) > SHAPE.n_positions - 40
    assert {"guardrail/stop", "guardrail/kl"} <= made.eval_metrics().keys()
    assert max(asked) <= SHAPE.n_positions - 40


def rl_of(
    pairs: list[Pair],
    tokenizer: Tokenizer,  # noqa: F811
    patch: pytest.MonkeyPatch,
    **changes: Any,
) -> RL:
    """The objective whose SFT mix-in is what these pairs prefer; their source has one more, of no use."""

    def source(config: Any, bad: RowStats) -> Iterator[Pair]:
        bad.filtered("pairs.jsonl", 1, "no preference")
        yield from pairs

    patch.setattr(tinyworld.Tinyworld, "pairs", source)
    return RL(settings("rl", options(**changes)), tokenizer, SHAPE.n_positions)
