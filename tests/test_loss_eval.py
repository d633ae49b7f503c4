"""Held-out loss: transformers' on the same windows, the run's own validation, and what `neogpt eval MODEL` runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import prepared, texts, tokenizer
from hellaswag_tasks import made_up, random_model, save, write
from torch.nn import functional as F
from training import flags, tiny

from neogpt import ledger
from neogpt.cli import main as command_line
from neogpt.data.shard_file import HEADER_BYTES
from neogpt.errors import DataError
from neogpt.evals import evaluator
from neogpt.evals.loss import Config, Loss, _ratio
from neogpt.paths import RunDir, cache_dir
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

T = 24


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and neither real data nor network."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NEOGPT_DATA", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("text"), 400)


def stream(folder: Path) -> np.ndarray:
    """The split's tokens from the bytes of its shards."""
    shards = sorted(folder.glob("val-*.bin"))
    assert len(shards) > 1
    return np.concatenate([np.frombuffer(path.read_bytes()[HEADER_BYTES:], "<u2") for path in shards])


def test_it_is_transformers_loss_on_the_same_windows(data: Path, tmp_path: Path) -> None:
    """All windows, of which the last is cut off, and the first few: mean, and the error over windows."""
    transformers = pytest.importorskip("transformers")
    model = random_model(tokenizer().vocab_size, T)
    hf = transformers.GPT2LMHeadModel.from_pretrained(save(model, tokenizer(), tmp_path)).double().eval()
    tokens = stream(data).astype(np.int64)
    n = len(tokens)
    assert n % T
    losses = []
    for start in range(0, n, T):
        ids = torch.from_numpy(tokens[np.arange(start, min(start + T, n) + 1) % n])
        with torch.inference_mode():
            losses.append(F.cross_entropy(hf(ids[None, :-1]).logits[0], ids[1:], reduction="none").numpy())
    found = Loss(Config(data=str(data))).run(model, tokenizer(), World())
    assert found["mean"] == pytest.approx(np.concatenate(losses).mean(), rel=1e-6)
    assert found["tokens"] == n
    text = b"".join(tokenizer().token_bytes(i) for i in tokens.tolist() if i != tokenizer().eot_id)
    bits = np.concatenate(losses).sum() / np.log(2) / len(text)
    assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-6)
    found = Loss(Config(limit=9, data=str(data))).run(model, tokenizer(), World())
    means = np.array([window.mean() for window in losses[:9]])
    assert found["mean"] == pytest.approx(means.mean(), rel=1e-6)
    assert found["mean_stderr"] == pytest.approx(means.std(ddof=1) / 3, rel=1e-4)
    assert found["tokens"] == 9 * T


def test_a_short_last_window_counts_by_its_tokens() -> None:
    """The jackknife's error of a ratio, which its linear form comes near; one window has none."""
    dice = np.random.default_rng(0)
    tokens = np.array([100.0] * 399 + [7.0])
    sums = tokens * dice.normal(3, 0.5, 400)
    left_out = [np.delete(sums, i).sum() / np.delete(tokens, i).sum() for i in range(400)]
    jackknife = np.sqrt(399 / 400 * np.square(left_out - np.mean(left_out)).sum())
    assert _ratio(sums, tokens)[1] == pytest.approx(jackknife, rel=0.01)
    assert _ratio(sums[:1], tokens[:1])[1] == 0


ALL_SEEN = ("--objective.intra-document-mask", "False")
"""As the eval reads: it lets a window's documents see each other."""


def test_a_run_is_measured_on_the_text_that_it_did_not_learn(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a name: the loss of the run's own last validation, and what its world can be asked."""
    run = tmp_path / "run"
    args = [*flags("pretrain"), "--steps", "4", "--objective.seq-len", "64", *ALL_SEEN, "--run", str(run)]
    assert command_line.main(["pretrain", "tinyworld", *args]) == 0
    capsys.readouterr()
    assert command_line.main(["eval", str(run), "--limit", "8", "--json", "True"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    validated = ledger.read(RunDir(run).metrics)[-1]
    assert found["loss/mean"] == pytest.approx(validated["val_loss"], rel=1e-6)
    assert found["loss/bits_per_byte"] == pytest.approx(validated["val_bpb"], rel=1e-6)
    assert {name.partition("/")[0] for name in found} == {"loss", "tinyworld"}


def test_any_gpt2_is_measured_on_prepared_fineweb_edu_and_hellaswag(
    home: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be had is left out and told; with nothing at all the command fails."""
    folder = str(save(random_model(tokenizer().vocab_size, 64), tokenizer(), tmp_path / "model"))
    assert command_line.main(["eval", folder]) == 3
    said = capsys.readouterr().err
    assert "no held-out text" in said
    assert "neogpt data prepare fineweb-edu" in said
    assert "forbids the network" in said
    prepared_here = cache_dir() / "data" / "fineweb-edu-0123456789ab"
    prepared_here.parent.mkdir(parents=True)
    prepared_here.symlink_to(data)
    assert command_line.main(["eval", folder, "--limit", "3"]) == 0
    shown = capsys.readouterr()
    assert "hellaswag is left out" in shown.err
    assert f"loss/tokens{3 * 64:>19}\n" in shown.out
    tasks = write(tmp_path / "tasks.jsonl", made_up(5))
    assert command_line.main(["eval", folder, "--limit", "3", "--data", str(tasks)]) == 0
    shown = capsys.readouterr()
    assert "loss/mean" in shown.out
    assert "hellaswag/acc_norm" in shown.out
    assert not shown.err
    (prepared_here.parent / "fineweb-edu-other").symlink_to(data)
    assert command_line.main(["eval", folder, "loss"]) == 3
    assert f"--data {prepared_here}" in capsys.readouterr().err


def test_text_in_another_vocabulary_is_refused(data: Path, tmp_path: Path) -> None:
    other = Tokenizer.train(texts(50, seed=9), 290)
    with pytest.raises(DataError, match="another tokenizer than the model's"):
        Loss(Config(data=str(data))).run(random_model(other.vocab_size, 64), other, World())
    with pytest.raises(DataError, match="not a prepared data set"):
        Loss(Config(data=str(tmp_path))).run(random_model(other.vocab_size, 64), other, World())


def test_a_run_that_measures_it_needs_the_text_before_its_first_step(home: Path, data: Path) -> None:
    with pytest.raises(DataError, match="no held-out text"):
        evaluator(tiny("pretrain", "--eval.names", "loss"))
    (home / "data").mkdir(parents=True)
    (home / "data" / "fineweb-edu-0123456789ab").symlink_to(data)
    evaluate = evaluator(tiny("pretrain", "--eval.names", "loss", "--eval.val-samples", "2"))
    assert evaluate
    scores, _ = evaluate(random_model(tokenizer().vocab_size, T), tokenizer(), World())
    assert scores["loss/tokens"] == 2 * T
