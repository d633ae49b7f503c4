"""Where GPT-2's files come from: a folder, NEOGPT_DATA, the cache, or one checked download."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neogpt.errors import DataError
from neogpt.tokenizer import Tokenizer, gpt2_files
from neogpt.tokenizer.alphabet import byte_to_char

# Stand-ins for OpenAI's files, whose sha256 the fixture puts in the place of theirs.
CHARS = list(byte_to_char().values())
VOCAB = {token: i for i, token in enumerate([*CHARS, "th", "the", "<|endoftext|>"])}
FILES = {"encoder.json": json.dumps(VOCAB).encode(), "vocab.bpe": b"#version: 0.2\nt h\nth e\n"}


class Server(ThreadingHTTPServer):
    """Serves FILES; `faults` maps a file to what goes wrong with it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.faults: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        body, fault = FILES[name], self.server.faults.get(name)
        if fault == "404":
            self.send_error(404)
            return
        if fault == "hang up":
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "short body":
            body = body[:-5]
        if fault == "other bytes":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A local stand-in for OpenAI's address, with an empty cache and nothing on disk."""
    for name in ("NEOGPT_DATA", "NEOGPT_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "cache"))
    server = Server()
    monkeypatch.setattr(gpt2_files, "URL", f"http://127.0.0.1:{server.server_port}/main")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(gpt2_files, "SHA256", hashes)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def cache(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def fill(folder: Path, names: tuple[str, str] = ("encoder.json", "vocab.bpe")) -> Path:
    folder.mkdir(parents=True)
    for name, content in zip(names, FILES.values(), strict=True):
        (folder / name).write_bytes(content)
    return folder


def test_the_files_are_downloaded_once(server: Server, tmp_path: Path) -> None:
    assert Tokenizer.gpt2().encode("the") == [VOCAB["the"]]
    assert cache(tmp_path) == ["encoder.json", "vocab.bpe"]
    assert Tokenizer.gpt2().vocab_size == 259
    assert server.asked == ["encoder.json", "vocab.bpe"]


@pytest.mark.parametrize("fault", ["404", "short body", "other bytes", "hang up"])
@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
def test_a_bad_download_is_an_error_and_leaves_nothing(
    server: Server, tmp_path: Path, name: str, fault: str
) -> None:
    server.faults[name] = fault
    with pytest.raises(DataError, match=name) as caught:
        Tokenizer.gpt2()
    assert server.asked[-1] == name
    assert name not in cache(tmp_path)
    assert caught.value.exit_code == 3
    server.faults.clear()
    assert Tokenizer.gpt2().vocab_size == 259


def test_the_error_says_what_is_wrong_with_the_bytes(server: Server) -> None:
    server.faults["vocab.bpe"] = "other bytes"
    with pytest.raises(DataError, match=r"vocab.bpe is not OpenAI's vocab.bpe: 23 bytes, sha256") as caught:
        Tokenizer.gpt2()
    assert gpt2_files.SHA256["vocab.bpe"] in caught.value.expected


def test_no_server_is_an_error_that_says_what_to_do(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt2_files, "URL", "http://127.0.0.1:9/main")
    with pytest.raises(
        DataError, match=r"cannot download http://127.0.0.1:9/.*refused[\s\S]*NEOGPT_DATA=DIR"
    ):
        Tokenizer.gpt2()


@pytest.mark.parametrize("variable", ["NEOGPT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_never_asks(server: Server, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(DataError, match=r"forbids the network[\s\S]*NEOGPT_DATA=DIR"):
        Tokenizer.gpt2()
    assert server.asked == []


def test_offline_uses_the_cache(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    Tokenizer.gpt2()
    monkeypatch.setenv("NEOGPT_OFFLINE", "1")
    assert Tokenizer.gpt2().vocab_size == 259


def test_a_damaged_cache_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    Tokenizer.gpt2()
    file = tmp_path / "cache" / "tokenizer" / "gpt2" / "vocab.bpe"
    file.write_bytes(b"#version: 0.2\n")
    assert Tokenizer.gpt2().encode("the") == [VOCAB["the"]]
    assert file.read_bytes() == FILES["vocab.bpe"]
    assert server.asked == ["encoder.json", "vocab.bpe", "vocab.bpe"]


def test_neogpt_data_comes_before_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "data" / "tokenizer")
    monkeypatch.setenv("NEOGPT_DATA", str(tmp_path / "data"))
    assert Tokenizer.gpt2().vocab_size == 259
    assert server.asked == []


@pytest.mark.parametrize("names", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_a_folder_may_use_either_names(server: Server, tmp_path: Path, names: tuple[str, str]) -> None:
    assert Tokenizer.gpt2(fill(tmp_path / "mine", names)).vocab_size == 259
    assert server.asked == []


def test_a_folder_that_is_named_must_have_the_right_files(server: Server, tmp_path: Path) -> None:
    folder = fill(tmp_path / "mine")
    (folder / "vocab.bpe").write_bytes(b"#version: 0.2\nt h\n")
    with pytest.raises(DataError, match=r"mine/vocab.bpe is not OpenAI's"):
        Tokenizer.gpt2(folder)
    (folder / "vocab.bpe").unlink()
    with pytest.raises(DataError, match=r"mine has no vocab.bpe \(nor merges.txt\)"):
        Tokenizer.gpt2(folder)
    assert server.asked == []


def test_the_right_hashes_are_the_ones_tiktoken_expects() -> None:
    import inspect

    from tiktoken_ext import openai_public

    source = inspect.getsource(openai_public.gpt2)
    for name, digest in gpt2_files.SHA256.items():
        assert f"{gpt2_files.URL}/{name}" in source
        assert digest in source


def test_processes_that_download_at_once_all_get_whole_files(server: Server, tmp_path: Path) -> None:
    program = (
        "import sys, json\nfrom neogpt.tokenizer import Tokenizer, gpt2_files\n"
        "gpt2_files.URL, gpt2_files.SHA256 = sys.argv[1], json.loads(sys.argv[2])\n"
        "print(Tokenizer.gpt2().fingerprint)"
    )
    command = [sys.executable, "-c", program, gpt2_files.URL, json.dumps(gpt2_files.SHA256)]
    started = [
        subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    found = {process.communicate()[0] for process in started}
    assert found == {f"{Tokenizer.gpt2().fingerprint}\n"}
    assert cache(tmp_path) == ["encoder.json", "vocab.bpe"]
