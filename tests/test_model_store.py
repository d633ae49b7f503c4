"""A model is found and verified once, and nothing is read that it is not made of."""

import io
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from neogpt import atomic, model_store
from neogpt.cli.main import main
from neogpt.errors import CheckpointError
from neogpt.paths import RunDir


@pytest.fixture
def run(bases: dict[str, Path], tmp_path: Path) -> RunDir:
    """A finished run of SFT."""
    shutil.copytree(bases["sft"], tmp_path / "run")
    return RunDir(tmp_path / "run")


def newest(run: RunDir) -> Path:
    return sorted(run.checkpoints.iterdir())[-1]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the whole of a file is hashed, by its name."""
    counts: Counter[str] = Counter()
    sha256_file = atomic.sha256_file

    def counting(path: Path) -> str:
        counts[path.name] += 1
        return sha256_file(path)

    monkeypatch.setattr(atomic, "sha256_file", counting)
    return counts


COMMANDS = {
    "chat": ["chat", "RUN"],
    "generate": ["generate", "RUN", "A", "--max-new-tokens", "2"],
    "eval": ["eval", "RUN", "samples", "--limit", "1"],
}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_command_hashes_model_and_tokenizer_once_and_reads_nothing_else(
    command: str, run: RunDir, hashed: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    optimizer, opened = newest(run) / "trainer.safetensors", []

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and str(args[0]).endswith(optimizer.name):
            opened.append(args[0])

    sys.addaudithook(hook)
    optimizer.chmod(0)  # root may read it all the same: the hook sees who does
    assert main([part.replace("RUN", str(run.root)) for part in COMMANDS[command]]) == 0
    files = set(atomic.read_manifest(newest(run), CheckpointError)) - {optimizer.name}
    assert hashed == Counter(dict.fromkeys(files, 1))
    assert opened == []


def test_what_was_resolved_is_not_verified_again(run: RunDir, hashed: Counter[str]) -> None:
    folder = model_store.resolve(run.root)
    assert os.fspath(folder) == str(newest(run))
    before = hashed.copy()
    model_store.load_model(folder)
    model_store.load_tokenizer(folder)
    assert model_store.resolve(folder) is folder
    assert folder.weights_hash() == atomic.read_manifest(newest(run), CheckpointError)["model.safetensors"][1]
    assert hashed == before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_damage_to_what_is_read_is_found(run: RunDir, name: str) -> None:
    path = newest(run) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        model_store.resolve(newest(run))


def test_an_optimizer_of_another_size_is_found_though_it_is_not_read(run: RunDir) -> None:
    path = newest(run) / "trainer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="trainer"):
        model_store.resolve(newest(run))
