"""FineWeb-Edu's road at its real size: a whole Parquet file of real text, from a Hub that breaks off."""

import json
from pathlib import Path

import pytest
from hub_server import Hub
from test_data_hub import CONFIG, FILES, use

from neogpt.config import DataConfig
from neogpt.data.prepare import prepare
from neogpt.data.sources import fineweb_edu
from neogpt.data.verify import verify
from neogpt.tokenizer import Tokenizer


def sums(folder: Path) -> dict[str, str]:
    """The sha256 of each file by the manifest, but of what tells where the text came from."""
    files = json.loads((folder / "MANIFEST.json").read_text())["files"]
    return {name: entry["sha256"] for name, entry in files.items() if name != "dataset.json"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_broken_download_gives_the_shards_of_a_folder(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 MB of Wikipedia, some ten million of GPT-2's ids: half a body, the rest, the same sums as from a folder."""
    source = real_data / "pretrain" / "enwiki-00.parquet"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / Path(FILES[0]).name).symlink_to(source)
    settings, gpt2 = DataConfig(shard_tokens=3_000_000), Tokenizer.gpt2()
    with Hub({FILES[0]: source.read_bytes()}) as hub:
        use(hub.url, tmp_path / "hf", monkeypatch)
        hub.faults[FILES[0]] = ["cut"]
        made = prepare(CONFIG, settings, gpt2, tmp_path / "from-the-hub")
        assert hub.ranges(FILES[0]) == ["bytes=0-", f"bytes={source.stat().st_size // 2}-"]
    local = fineweb_edu.FineWebEdu(path=str(tmp_path / "folder"))
    expected = prepare(local, settings, gpt2, tmp_path / "from-a-folder")
    assert sums(made) == sums(expected)
    assert verify(made)["train"]["shards"] > 2
