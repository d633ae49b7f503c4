"""Pretraining on text by the command line, when there is too little of it or its shards were damaged on the disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from data_helpers import texts, write_jsonl
from test_objectives import settings
from training import Launcher, different, events, n_rows, outcome, tiny

from neogpt import ledger, plugins
from neogpt import load as neogpt_load
from neogpt.cli import main as command_line
from neogpt.data.build_tokenizer import tokenizer_for
from neogpt.data.shard_file import HEADER_BYTES
from neogpt.data.shards import TokenData
from neogpt.objectives import dpo, sft
from neogpt.paths import cache_dir
from neogpt.train.monitors import data_integrity
from neogpt.train.run import train

SMALL = """--data.tokenizer trained --data.vocab-size 300 --data.val-fraction 0.1 --data.shard-tokens 1500 --threads 1
 --dtype float32 --device cpu --model.n-layer 1 --model.n-head 1 --model.n-embd 8 --model.n-positions 16
 --objective.seq-len 16 --batch.size 128 --eval.every 0 --eval.names --trackers --save.every 2"""


@pytest.fixture
def neogpt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`neogpt pretrain laptop` on two hundred short texts, with a cache of its own."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "home"))
    source = write_jsonl(tmp_path / "texts.jsonl", texts(200))

    def call(run: str, steps: int = 6, *more: str) -> int:
        flags = [*SMALL.split(), "--source.path", str(source), "--steps", str(steps), *more]
        return command_line.main(["pretrain", "laptop", "--run", str(tmp_path / run), *flags])

    return call


def data_of_the_run() -> Path:
    (found,) = (path.parent for path in (cache_dir() / "data").glob("*/MANIFEST.json"))
    return found


def flip(folder: Path, split: str = "train") -> Path:
    """One bit of the last shard, so that the id becomes another one of the vocabulary."""
    *_, shard = sorted(folder.glob(f"{split}-*.bin"))
    data = bytearray(shard.read_bytes())
    place = next(i for i in range(HEADER_BYTES, len(data), 2) if data[i] > 1 and not data[i + 1])
    data[place] ^= 1
    shard.write_bytes(data)
    TokenData(folder, split).read(0, 100)
    return shard


def test_too_little_text_for_the_horizon_is_told(
    neogpt: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At most four times without a word; more often with a warning, once, that names the steps of four times."""
    assert neogpt("first", 1) == 0
    tokens = TokenData(data_of_the_run()).n_tokens
    most = 4 * -(-tokens // 16) // 128
    assert neogpt("enough", most) == 0
    assert not events(tmp_path / "enough", "warning")
    capsys.readouterr()
    assert neogpt("more", most + 1) == 0
    (said,) = events(tmp_path / "more", "warning")
    assert f"its {tokens:,} training tokens 4." in said["message"]
    assert "Muennighoff" in said["message"]
    assert f"try --steps {most}" in said["message"]
    assert "warning: the run reads" in capsys.readouterr().out
    assert neogpt("more", most + 1, "--resume", "auto") == 0
    assert len(events(tmp_path / "more", "warning")) == 1


def test_a_world_that_is_learnt_by_heart_is_read_as_often_as_one_likes(tmp_path: Path) -> None:
    train(tiny("pretrain", "--steps", "1", "--batch.size", "2048", "--eval.val-samples", "0"), tmp_path)
    assert events(tmp_path, "start")[0]["epochs"] > 4
    assert not events(tmp_path, "warning")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("where", ["before", "beside"])
def test_a_flipped_bit_ends_the_run(
    neogpt: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    split: str,
    where: str,
) -> None:
    """Before the first step, or, where there is much to hash, at some step before the last."""
    assert neogpt("first") == 0
    shard = flip(data_of_the_run(), split)
    if where == "beside":
        monkeypatch.setattr(data_integrity, "_AT_ONCE_BYTES", 0)
    capsys.readouterr()
    assert neogpt("run") == 3
    said = capsys.readouterr().err
    assert f"{shard} is damaged: its sha256 differs" in said
    assert f"neogpt data verify {shard.parent}" in said
    assert command_line.main(["data", "verify", str(shard.parent)]) == 3
    assert n_rows(tmp_path / "run") < n_rows(tmp_path / "first")
    assert not events(tmp_path / "run", "end")


def test_a_flipped_bit_ends_all_processes(
    neogpt: Callable[..., int], launcher: Launcher, tmp_path: Path
) -> None:
    """One process of a machine looks for all; the others end with it, and none waits."""
    assert neogpt("first") == 0
    shard = flip(data_of_the_run())
    flags = [*SMALL.split(), "--source.path", str(tmp_path / "texts.jsonl"), "--steps", "6"]
    run = ["--run", str(tmp_path / "run"), "--batch.micro-batches", "2"]
    home = str(tmp_path / "home")
    group = launcher.neogpt("pretrain", "laptop", *flags, *run, world=2, NEOGPT_HOME=home)
    first, second = group.wait()
    assert first == 3
    assert second not in (0, None)
    assert f"{shard} is damaged" in group.text(0)
    assert "Traceback" not in group.text(1)


def test_the_check_changes_no_bit(
    neogpt: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert neogpt("before") == 0
    monkeypatch.setattr(data_integrity, "_AT_ONCE_BYTES", 0)
    assert neogpt("beside") == 0
    assert different(outcome(tmp_path / "before"), outcome(tmp_path / "beside")) == []


def test_what_is_replayed_is_checked_too() -> None:
    """Before the first step: `DataIntegrityCheck` is handed the folders that an objective names."""
    for stage, module in (("sft", sft), ("dpo", dpo)):
        run = settings(stage, module.Config(pretrain_coef=0.5, pretrain_rows=4, pretrain_seq_len=16))
        built = plugins.get("neogpt.objectives", stage, "objective").build
        objective = built(run, tokenizer_for(run.data, run.source), 96)
        assert objective.replay
        assert [TokenData(folder).fingerprint for folder in objective.folders] == [
            objective.replay.fingerprint
        ]


def readme_line() -> list[str]:
    """README's line for one text file, as it is typed."""
    lines = (Path(__file__).parents[1] / "README.md").read_text("utf-8").splitlines()
    (line,) = (line for line in lines if "tinyshakespeare.txt --run" in line)
    return line.split()[1:]


def test_one_text_file_trains_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nanoGPT's first example: letters, 4 layers of width 128, 64 tokens, batches of 12; here with three steps."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    speech = "ROMEO:\nBut soft, what light through yonder window breaks?\n\nJULIET:\nNothing, number {}.\n\n"
    (tmp_path / "tinyshakespeare.txt").write_text("".join(speech.format(i) for i in range(2000)))
    more = "--steps 3 --threads 1 --eval.names --trackers"
    assert command_line.main([*readme_line(), *more.split()]) == 0
    rows = [row for row in ledger.read(tmp_path / "runs/shakespeare/metrics.jsonl") if "val_loss" in row]
    assert 0 < rows[-1]["val_bpb"] < rows[0]["val_bpb"] < 9
    letters = TokenData(data_of_the_run())
    assert letters.vocab_size == 257
    held_out = TokenData(data_of_the_run(), "val")
    size = (tmp_path / "tinyshakespeare.txt").stat().st_size
    kept = letters.n_tokens + held_out.n_tokens
    assert size - 2000 < kept < size + 2000
    assert 0.005 < held_out.n_tokens / kept < 0.06
    assert neogpt_load("runs/shakespeare").config.n_layer == 4


def test_a_run_without_held_out_text(neogpt: Callable[..., int], tmp_path: Path) -> None:
    """Where it is asked for: every document is learned, and nothing is validated."""
    assert neogpt("all", 2, "--data.val-fraction", "0", "--eval.every", "1") == 0
    rows = ledger.read(tmp_path / "all" / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    assert not [row for row in rows if "val_loss" in row]
    assert TokenData(data_of_the_run()).n_documents == 200
