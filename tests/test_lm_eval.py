"""lm-eval as referee: on the same real tasks its harness and our `lm-eval` style give the same numbers."""

import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hellaswag_tasks import made_up, random_model, real_tasks, save, trained_tokenizer, write

from neogpt.cli import main as command_line
from neogpt.errors import ConfigError
from neogpt.evals import _choices, _hellaswag_scoring, _hellaswag_tasks, lm_eval
from neogpt.evals.hellaswag import Config, HellaSwag
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed (pip install 'neogpt[eval]')",
)
N = 40


class Case(NamedTuple):
    """A saved model, the file of its tasks, and what lm-eval says."""

    model: GPT2
    tokenizer: Tokenizer
    folder: Path
    data: Path
    judged: dict[str, Any]


@pytest.fixture(scope="module")
def case(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("lm-eval")
    tasks = real_tasks(real_data, N)
    rows = [{**vars(task), "endings": list(task.endings)} for task in tasks]
    data = write(folder / "tasks.jsonl", rows + made_up(3))
    tokenizer = trained_tokenizer(tasks)
    model = random_model(tokenizer.vocab_size, 128)  # some tasks are longer
    save(model, tokenizer, folder / "model")
    return Case(
        model,
        tokenizer,
        folder / "model",
        data,
        lm_eval.harness(folder / "model", ["hellaswag"], N, str(data)),
    )


@needs_lm_eval
def test_each_ending_has_lm_evals_log_likelihood(case: Case) -> None:
    tasks = _hellaswag_tasks.read(case.data, N)
    items = _hellaswag_scoring.encoded(case.tokenizer, tasks, "lm-eval")
    lengths = [len(r.context) + len(r.continuation) for item in items for r in item.requests]
    assert min(lengths) < 128 < max(lengths)
    with torch.inference_mode():
        found = _choices.log_likelihoods(case.model, [item.requests for item in items])
    samples = sorted(case.judged["samples"]["hellaswag"], key=lambda sample: sample["doc_id"])
    assert len(samples) == N
    for i, (sample, values) in enumerate(zip(samples, found, strict=True)):
        expected = [log_likelihood for log_likelihood, _ in sample["filtered_resps"]]
        assert values == pytest.approx(expected, abs=1e-4)
        plain, normed = _hellaswag_scoring.predictions(case.model, [items[i]])[0]
        assert (sample["acc"], sample["acc_norm"]) == (plain == items[i].label, normed == items[i].label)


@needs_lm_eval
def test_the_scores_are_lm_evals(case: Case) -> None:
    ours = HellaSwag(Config(limit=N, style="lm-eval", data=str(case.data))).run(
        case.model, case.tokenizer, World()
    )
    theirs = case.judged["results"]["hellaswag"]
    assert 0 < ours["acc"] < 1
    assert ours == pytest.approx({name: theirs[f"{name},none"] for name in ours})


@needs_lm_eval
def test_the_command_line_runs_it(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["eval", str(case.folder), "lm-eval", "--tasks", "hellaswag", "--data", str(case.data)]
    assert command_line.main([*args, "--limit", "5", "--json", "True"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    direct = HellaSwag(Config(limit=5, style="lm-eval", data=str(case.data))).run(
        case.model, case.tokenizer, World()
    )
    assert found == pytest.approx({f"lm_eval/hellaswag/{name}": value for name, value in direct.items()})


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'neogpt\[eval\]'"):
        lm_eval.harness(Path("anywhere"), ["hellaswag"])
