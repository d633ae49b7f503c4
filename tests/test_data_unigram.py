"""The unigram baseline against counting by hand."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from neogpt.cli import data as command
from neogpt.config import DataConfig
from neogpt.data.prepare import prepare
from neogpt.data.shards import TokenData
from neogpt.data.sources import text
from neogpt.data.unigram import unigram_loss
from neogpt.tokenizer import Tokenizer


def test_unigram_loss_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"The cat {i} sat on the mat. " * (i % 5 + 1))
    tokenizer = Tokenizer.train(["The cat sat on the mat."], 280)
    config = text.Text(path=str(tmp_path))
    folder = prepare(config, DataConfig(val_fraction=0.3), tokenizer, tmp_path / "out")
    train, held_out = TokenData(folder, "train"), TokenData(folder, "val")
    counts = Counter(train.read(0, train.n_tokens).tolist())
    total = train.n_tokens + tokenizer.vocab_size
    seen = held_out.read(0, held_out.n_tokens).tolist()
    expected = -sum(math.log((counts[token] + 1) / total) for token in seen) / len(seen)
    assert unigram_loss(train, held_out) == pytest.approx(expected)
    assert command.run(["show", str(folder), "--unigram", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unigram_loss"] == pytest.approx(expected)
