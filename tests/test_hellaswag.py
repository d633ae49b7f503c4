"""HellaSwag: the ranking of transformers and of one-by-one scoring, whatever the batches and processes."""

import dataclasses
import hashlib
import json
import math
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hellaswag_tasks import RAW, WIKIHOW, made_up, random_model, real_tasks, save, trained_tokenizer, write
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from training import ROOT, Launcher, compiler_python, flags

from neogpt import ledger, model_store
from neogpt.cli import main as command_line
from neogpt.errors import ConfigError, DataError
from neogpt.evals import _choices, _hellaswag_scoring, _hellaswag_tasks
from neogpt.evals._choices import Continuation
from neogpt.evals._counts import standard_error
from neogpt.evals._hellaswag_tasks import Style, Task
from neogpt.evals.hellaswag import Config, HellaSwag
from neogpt.inference.forward import Inference
from neogpt.model import GPT2
from neogpt.model_store import load_model, load_tokenizer
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World


def reference(hf: torch.nn.Module, tokenizer: Tokenizer, task: Task) -> tuple[int, int, float, float]:
    """Both predictions as build-nanogpt makes them: four padded rows, mean and sum of the ending's losses.

    Also how far the best is ahead of the next, relatively.
    """
    context = tokenizer.encode(task.ctx)
    rows = [(context, tokenizer.encode(" " + ending)) for ending in task.endings]
    longest = max(len(a) + len(b) for a, b in rows)
    tokens_BT, mask_BT = torch.zeros(4, longest, dtype=torch.int64), torch.zeros(4, longest)
    for i, (a, b) in enumerate(rows):
        tokens_BT[i, : len(a) + len(b)] = torch.tensor(a + b)
        mask_BT[i, len(a) : len(a) + len(b)] = 1
    logits_BTV = hf(tokens_BT).logits
    loss_BT = F.cross_entropy(logits_BTV[:, :-1].transpose(1, 2), tokens_BT[:, 1:], reduction="none")
    sums_B = (loss_BT * mask_BT[:, 1:]).sum(1)
    means_B = sums_B / mask_BT[:, 1:].sum(1)
    return int(sums_B.argmin()), int(means_B.argmin()), _lead(sums_B), _lead(means_B)


def _lead(losses_B: torch.Tensor) -> float:
    first, second = losses_B.sort().values[:2].tolist()
    return (second - first) / first


def one_by_one(model: GPT2, items: list[_hellaswag_scoring.Item]) -> list[tuple[int, int]]:
    """Predictions from a plain forward of each ending alone."""
    found = []
    for item in items:
        values = [plain(model, request) for request in item.requests]
        normed = [value / length for value, length in zip(values, item.lengths, strict=True)]
        found.append((values.index(max(values)), normed.index(max(normed))))
    return found


def plain(model: GPT2, request: Continuation) -> float:
    """Log-likelihood of the continuation from all logits, after the cut that lm-eval makes."""
    tokens = (request.context + request.continuation)[-(model.config.n_positions + 1) :]
    n = min(len(request.continuation), len(tokens) - 1)
    logp_TV = model(torch.tensor([tokens[:-1]]))[0].log_softmax(-1)
    targets_N = torch.tensor(tokens[-n:])
    return float(logp_TV[-n:].gather(1, targets_N[:, None]).double().sum())


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tasks") / "made-up.jsonl", made_up(60))


def test_predictions_are_those_of_transformers_on_real_tasks(real_data: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tasks = real_tasks(real_data, 200)
    tokenizer = trained_tokenizer(tasks)
    model = random_model(tokenizer.vocab_size, 400)
    hf = transformers.GPT2LMHeadModel.from_pretrained(save(model, tokenizer, tmp_path)).double().eval()
    items = _hellaswag_scoring.encoded(tokenizer, tasks, "build-nanogpt")
    with torch.inference_mode():
        expected = [reference(hf, tokenizer, task) for task in tasks]
    assert min(min(leads) for _, _, *leads in expected) > 1e-7, "a tie: no prediction is right"
    for size in (4096, 700):
        assert _hellaswag_scoring.predictions(model, items, size) == [
            (plain, normed) for plain, normed, *_ in expected
        ]
    assert len({plain for plain, *_ in expected}) == 4


@pytest.mark.parametrize("style", ["build-nanogpt", "lm-eval"])
@pytest.mark.parametrize("n_positions", [48, 320])
def test_any_batch_gives_the_predictions_of_one_by_one_scoring(
    invented: Path, style: Style, n_positions: int
) -> None:
    """Also with ties, one-letter endings, empty contexts, and texts longer than the model's context."""
    tasks = _hellaswag_tasks.read(invented)
    tokenizer = trained_tokenizer(tasks, 300)
    model = random_model(tokenizer.vocab_size, n_positions)
    items = _hellaswag_scoring.encoded(tokenizer, tasks, style)
    lengths = [len(r.context) + len(r.continuation) for item in items for r in item.requests]
    assert min(lengths) < 48 < max(lengths) < 320
    assert min(len(r.continuation) for item in items for r in item.requests) == 1
    expected = one_by_one(model, items)
    for size in (1, 37, 500, 10**6):
        assert _hellaswag_scoring.predictions(model, items, size) == expected


def test_log_likelihoods_are_those_of_plain_forwards(invented: Path) -> None:
    tasks = _hellaswag_tasks.read(invented)
    tokenizer = trained_tokenizer(tasks, 300)
    model = random_model(tokenizer.vocab_size, 48)
    requests = [item.requests for item in _hellaswag_scoring.encoded(tokenizer, tasks, "build-nanogpt")]
    with torch.inference_mode():
        found = _choices.log_likelihoods(model, requests, 300)
    for row, values in zip(requests, found, strict=True):
        for request, value in zip(row, values, strict=True):
            assert value == pytest.approx(plain(model, request), rel=2e-6)
            assert _choices.alone(model, request) == pytest.approx(plain(model, request), rel=1e-6)


def test_what_goes_through_the_model(invented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared context once, an ending's last token never, and logits of scored tokens only."""
    model = random_model(50, 64)
    seen: list[int] = []
    heads: list[int] = []
    hidden, head = Inference.hidden, _choices.token_log_probs
    monkeypatch.setattr(
        Inference, "hidden", lambda self, t, cache: (seen.append(t.numel()), hidden(self, t, cache))[1]
    )
    monkeypatch.setattr(_choices, "token_log_probs", lambda x, *a: (heads.append(len(x)), head(x, *a))[1])
    context = tuple(range(20))
    _choices.log_likelihoods(model, [[Continuation(context, (1, 2, 3)), Continuation(context, (4, 5, 6))]])
    assert seen == [20, 2 * 2]
    assert sum(heads) == 6
    seen.clear()
    _choices.log_likelihoods(model, [[Continuation(context, (token,)) for token in range(4)]])
    assert seen == [20]


def test_rounding_decides_nothing() -> None:
    """Scores that are off by what rounding may do are settled by the reference; the first of equals wins."""
    model, dice = random_model(50, 64), random.Random(0)
    for _ in range(40):
        context = tuple(dice.choices(range(50), k=5))
        ids = [tuple(dice.choices(range(50), k=3)) for _ in range(2)]
        requests = [Continuation(context, ending) for ending in (ids[0], ids[1], ids[1], ids[0])]
        exact = [plain(model, request) for request in requests]
        off = [max(exact) * (1 + dice.uniform(-4e-5, 4e-5)) for _ in exact]
        assert _choices.best(model, requests, off, [1] * 4) == exact.index(max(exact))


def test_standard_error_is_the_sample_deviation_over_root_n() -> None:
    for right, n in ((3, 10), (0, 7), (7, 7), (2953, 10_042)):
        sample = np.array([1.0] * right + [0.0] * (n - right))
        assert standard_error(right, n) == pytest.approx(sample.std(ddof=1) / math.sqrt(n))
    assert standard_error(1, 1) == 0


def test_text_of_the_two_styles_on_the_published_form(tmp_path: Path) -> None:
    tasks = _hellaswag_tasks.read(write(tmp_path / "raw.jsonl", [RAW, WIKIHOW]))
    tokenizer = trained_tokenizer(tasks, 300)

    def texts(style: Style) -> list[tuple[str, list[str]]]:
        items = _hellaswag_scoring.encoded(tokenizer, tasks, style)
        return [
            (
                tokenizer.decode(list(i.requests[0].context)),
                [tokenizer.decode(list(r.continuation)) for r in i.requests],
            )
            for i in items
        ]

    plain, wikihow = texts("build-nanogpt")
    assert plain == (RAW["ctx"], [f" {ending}" for ending in RAW["endings"]])  # type: ignore[attr-defined]
    assert wikihow[0] == WIKIHOW["ctx"]
    plain, wikihow = texts("lm-eval")
    assert plain[0] == "Roof shingle removal: A man is sitting on a roof. He"
    assert wikihow[0] == "Home and Garden: How to fix a roof. Climb up. Take a ladder."
    assert wikihow[1][0] == " Climb it. Hold on."
    lengths = _hellaswag_scoring.encoded(tokenizer, tasks, "lm-eval")[1].lengths
    assert lengths[:2] == (len("Climb it. Hold on."), len("Sell it."))


def test_scores_are_shares_of_the_first_tasks(invented: Path) -> None:
    tokenizer = trained_tokenizer(_hellaswag_tasks.read(invented), 300)
    model = random_model(tokenizer.vocab_size, 256)
    items = _hellaswag_scoring.encoded(tokenizer, _hellaswag_tasks.read(invented, 21), "lm-eval")
    right = [(p == i.label, q == i.label) for i, (p, q) in zip(items, one_by_one(model, items), strict=True)]
    found = HellaSwag(Config(limit=21, style="lm-eval", data=str(invented))).run(model, tokenizer, World())
    assert found["acc"] == sum(plain for plain, _ in right) / 21
    assert found["acc_norm"] == sum(normed for _, normed in right) / 21
    assert found["acc_stderr"] == standard_error(sum(plain for plain, _ in right), 21)
    assert list(found) == ["acc", "acc_norm", "acc_stderr", "acc_norm_stderr"]


def test_both_forms_of_the_file_are_read(real_data: Path) -> None:
    tasks = _hellaswag_tasks.read(real_data / "hellaswag" / _hellaswag_tasks.NAME)
    assert len(tasks) == _hellaswag_tasks.N_TASKS
    assert all(task.ctx == f"{task.ctx_a} {task.ctx_b}".strip() for task in tasks)
    assert {len(task.endings) for task in tasks} == {4}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2"),
        ("[]", "line 2"),
        (json.dumps({**RAW, "endings": "four"}), "line 2"),
        (json.dumps({**RAW, "label": 4}), "line 2"),
        (json.dumps({k: v for k, v in RAW.items() if k != "ctx"}), "line 2"),
    ],
)
def test_a_broken_task_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = write(tmp_path / "tasks.jsonl", [RAW])
    file.write_text(file.read_text() + line + "\n")
    assert len(_hellaswag_tasks.read(file, 1)) == 1
    with pytest.raises(DataError, match=said):
        _hellaswag_tasks.read(file)


def test_a_file_that_nobody_named_must_have_all_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hellaswag").mkdir()
    write(tmp_path / "hellaswag" / _hellaswag_tasks.NAME, [RAW] * 3)
    monkeypatch.setenv("NEOGPT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"3 lines[\s\S]*10,042"):
        _hellaswag_tasks.read()
    with pytest.raises(DataError, match="cannot be read"):
        _hellaswag_tasks.read(tmp_path / "absent.jsonl")


def test_the_published_file_is_downloaded_once_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEOGPT_DATA", "NEOGPT_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "cache"))
    file = write(tmp_path / "far.jsonl", [RAW] * 2)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    published = dataclasses.replace(_hellaswag_tasks.PUBLISHED, url=file.as_uri(), sha256=digest)
    monkeypatch.setattr(_hellaswag_tasks, "PUBLISHED", published)
    monkeypatch.setattr(_hellaswag_tasks, "N_TASKS", 2)
    assert len(_hellaswag_tasks.read()) == 2
    file.unlink()
    assert len(_hellaswag_tasks.read()) == 2
    (tmp_path / "cache" / "hellaswag" / _hellaswag_tasks.NAME).write_text("other")
    with pytest.raises(DataError, match=r"cannot download[\s\S]*NEOGPT_DATA=DIR"):
        _hellaswag_tasks.read()


def test_an_unknown_style_is_an_error() -> None:
    with pytest.raises(ConfigError, match="one of build-nanogpt, lm-eval"):
        Config(style="helm")  # type: ignore[arg-type]


def test_a_run_measures_the_same_on_any_number_of_processes(
    launcher: Launcher, tmp_path: Path, invented: Path
) -> None:
    more = [f"hellaswag:data={invented},limit=33"]
    settings = [*flags("pretrain", *more), "--steps", "4", "--eval.every", "2"]
    rows = {}
    for world in (1, 2):
        group = launcher.neogpt(
            "pretrain", "tinyworld", *settings, "--run", str(tmp_path / str(world)), world=world
        )
        assert group.wait() == [0] * world, group.text()
        rows[world] = RunDir(tmp_path / str(world)).metrics.read_bytes()
    assert rows[1] == rows[2]
    last = ledger.read(RunDir(tmp_path / "1").metrics)[-1]
    assert {
        "hellaswag/acc",
        "hellaswag/acc_norm",
        "hellaswag/acc_stderr",
        "hellaswag/acc_norm_stderr",
    } <= set(last)
    assert last["hellaswag/acc"] * 33 == pytest.approx(round(last["hellaswag/acc"] * 33))


@pytest.mark.slow
def test_a_compiled_run_measures_what_its_checkpoint_has(tmp_path: Path, invented: Path) -> None:
    more = [f"hellaswag:data={invented}", "samples", "--compile", "True"]
    args = [*flags("pretrain", *more), "--steps", "2", "--run", str(tmp_path / "run")]
    command = [compiler_python(tmp_path), "-m", "neogpt", "pretrain", "tinyworld", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = ledger.read(RunDir(tmp_path / "run").metrics)[-1]
    found = HellaSwag(Config(data=str(invented))).run(
        load_model(tmp_path / "run"), load_tokenizer(tmp_path / "run"), World()
    )
    assert {f"hellaswag/{name}": value for name, value in found.items()}.items() <= row.items()


def test_a_run_without_the_tasks_ends_before_its_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEOGPT_DATA", raising=False)
    args = ["pretrain", "tinyworld", *flags("pretrain", "hellaswag"), "--run", str(tmp_path / "run")]
    assert command_line.main(args) == 3
    assert "forbids the network" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_command_line(invented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = trained_tokenizer(_hellaswag_tasks.read(invented), 300)
    model = random_model(tokenizer.vocab_size, 256)
    folder = str(save(model, tokenizer, tmp_path / "model"))
    call: Callable[..., int] = lambda *args: command_line.main(["eval", folder, *args])  # noqa: E731
    usual = ("hellaswag", "--data", str(invented), "--limit", "9")
    assert call(*usual, "--style", "lm-eval", "--json") == 0
    printed = capsys.readouterr().out
    assert call(*usual, "--style", "lm-eval", "--json", "True") == 0  # as it was written once
    assert capsys.readouterr().out == printed
    found = json.loads(printed)["scores"]
    direct = HellaSwag(Config(limit=9, style="lm-eval", data=str(invented))).run(model, tokenizer, World())
    assert found == {f"hellaswag/{name}": value for name, value in direct.items()}
    assert call(*usual) == 0
    assert "hellaswag/acc_norm_stderr  0." in capsys.readouterr().out
    assert call("samples", "--style", "lm-eval") == 2
    assert "--style means nothing to samples" in capsys.readouterr().err


def test_openais_gpt2_is_measured_by_its_name(
    invented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the Hub's cache, in the form that it has there: names without a prefix, and masks among the weights."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    call = ["eval", "openai-community/gpt2", "hellaswag", "--data", str(invented), "--limit", "9"]
    assert command_line.main(call) == 4
    said = capsys.readouterr().err
    assert "openai-community/gpt2 is not on this disk" in said
    assert "HF_HUB_OFFLINE or NEOGPT_OFFLINE forbids the network" in said
    assert "try: a folder in its place (`neogpt list runs`" in said
    monkeypatch.setattr(model_store, "is_offline", lambda: False)
    assert command_line.main(call) == 4
    assert "could not be downloaded: the Hub cannot be reached" in capsys.readouterr().err
    tokenizer = trained_tokenizer(_hellaswag_tasks.read(invented), 300)
    model = random_model(tokenizer.vocab_size, 256)
    cached = tmp_path / "models--openai-community--gpt2"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    folder = save(model, tokenizer, cached / "snapshots" / "abc")
    weights = load_file(folder / "model.safetensors")
    weights |= {f"h.{i}.attn.bias": torch.ones(1, 1, 256, 256).tril() for i in range(2)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert command_line.main([*call, "--json", "True"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    direct = HellaSwag(Config(limit=9, data=str(invented))).run(model, tokenizer, World())
    assert found == {f"hellaswag/{name}": value for name, value in direct.items()}
