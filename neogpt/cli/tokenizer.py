"""Train a tokenizer on text, and see how one cuts a text into tokens."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neogpt import plugins
from neogpt.errors import ConfigError, DataError
from neogpt.paths import RunDir

if TYPE_CHECKING:
    from neogpt.tokenizer import Tokenizer

_USAGE = """usage: neogpt tokenizer train FILES... --out DIR [--vocab-size N]   byte-level BPE from text
       neogpt tokenizer show DIR|gpt2 [TEXT] [--json]               what it is, and how it cuts TEXT

examples: neogpt tokenizer train books/ notes.jsonl --vocab-size 4096 --out my-tokenizer
          neogpt tokenizer show gpt2 "Hello, I'm a language model,"
"""
_SAMPLE_CHARACTERS = 1_000_000
_SHOWN = 1000


def run(args: list[str]) -> int:
    """`neogpt tokenizer train|show ...`."""
    if not args or args[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    verbs: dict[str, Callable[[list[str]], int]] = {"train": train, "show": show}
    if args[0] not in verbs:
        raise plugins.unknown("tokenizer command", args[0], list(verbs))
    return verbs[args[0]](args[1:])


def train(args: list[str]) -> int:
    """`neogpt tokenizer train FILES... --out DIR [--vocab-size N] [--column C] [--whole-words FILE]`."""
    options = _train_parser().parse_args(args)
    from neogpt.tokenizer import Tokenizer  # start-up time

    start = time.monotonic()
    words = options.whole_words.split() if options.whole_words else []
    corpus = _Corpus(options.files, options.column, options.max_characters)
    tokenizer = Tokenizer.train(corpus, options.vocab_size, whole_words=words)
    _save(tokenizer, options.out, options.force)
    found = {"folder": str(options.out), **_facts(tokenizer), **corpus.facts(tokenizer)}
    if options.json:
        print(json.dumps({**found, "seconds": round(time.monotonic() - start, 3)}))
        return 0
    cut = f" (the first {options.max_characters:,}: --max-characters)" if corpus.was_cut else ""
    print(f"read {found['documents']:,} documents, {found['characters']:,} characters{cut}")
    if corpus.bad.shown:
        print(
            f"passed over {corpus.bad.n_malformed + corpus.bad.n_filtered:,} rows, the first: {corpus.bad.shown[0]}"
        )
    if tokenizer.vocab_size < options.vocab_size:
        print(f"the text has no more than {tokenizer.vocab_size:,} tokens to learn")
    print(f"wrote {options.out}: {_line(found)}, {found['bytes_per_token']:.2f} bytes a token")
    print(f"look at it: neogpt tokenizer show {options.out} 'some text'   ({time.monotonic() - start:.1f} s)")
    return 0


def show(args: list[str]) -> int:
    """`neogpt tokenizer show DIR|gpt2 [TEXT] [--json]`."""
    options = _show_parser().parse_args(args)
    tokenizer = _load(options.tokenizer)
    found: dict[str, Any] = {"tokenizer": options.tokenizer, **_facts(tokenizer)}
    if options.text is None:
        longest = sorted(range(tokenizer.vocab_size - 1), key=lambda i: (-len(tokenizer.token_bytes(i)), i))
        found["longest"] = [_piece(tokenizer, i) for i in longest[:10]]
    else:
        ids = tokenizer.encode(options.text)
        found |= {"text": options.text, "ids": ids, "pieces": [_piece(tokenizer, i) for i in ids]}
    if options.json:
        print(json.dumps(found))
    else:
        _print(found, tokenizer)
    return 0


class _Corpus:
    """The texts of some files, counted while they pass by; DataError for files that are not text."""

    def __init__(self, files: list[str], column: str, max_characters: int) -> None:
        from neogpt.records import RowStats  # start-up time

        self.files, self.column, self.limit = files, column, max_characters
        self.bad = RowStats()
        self.documents = self.characters = 0
        self.was_cut = False
        self.sample: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for text in self._texts():
            if self.limit and self.characters >= self.limit:
                self.was_cut = True
                break
            self.documents += 1
            self.characters += len(text)
            if self.characters <= _SAMPLE_CHARACTERS or not self.sample:
                self.sample.append(text[:_SAMPLE_CHARACTERS])
            yield text
        self._check()
        if not self.characters:
            raise DataError(
                f"there is no text in {' '.join(self.files)}",
                "at least one text that is not empty",
                code="data.no_text",
            )

    def _texts(self) -> Iterator[str]:
        from neogpt.data.sources import files  # start-up time

        for name in self.files:
            if not (Path(name).expanduser().exists() or set("*?[") & set(name)):
                raise DataError(
                    f"there is no file or folder {name}",
                    "files, folders or globs of text",
                    code="data.no_such_file",
                )
            source = files.Files(path=name, text_column=self.column)
            for part in source.parts():
                for document in source.documents(part, self.bad):
                    yield document.text

    def _check(self) -> None:
        try:
            self.bad.check()
        except DataError as error:
            hint = "mend or remove those rows, or name another --column"
            raise DataError(error.what, error.expected, hint, code="tokenizer.damaged") from None

    def facts(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        """Counts, and the bytes a token of the first texts."""
        size = sum(len(text.encode()) for text in self.sample)
        tokens = sum(map(len, tokenizer.encode_batch(self.sample)))
        counts = {"documents": self.documents, "characters": self.characters}
        return {
            **counts,
            "passed_over": self.bad.n_malformed + self.bad.n_filtered,
            "bytes_per_token": size / tokens,
        }


def _save(tokenizer: "Tokenizer", folder: Path, force: bool) -> None:
    """Write the tokenizer, but never over another one: models and prepared data would no longer fit it."""
    if (folder / "tokenizer.json").exists() and not force:
        if type(tokenizer).load(folder).fingerprint != tokenizer.fingerprint:
            raise ConfigError(
                f"{folder} already has another tokenizer",
                "a new folder",
                "another --out, or --force",
                code="tokenizer.another_there",
            )
        return
    try:
        tokenizer.save(folder)
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror}",
            "a folder that can be written",
            code="data.not_written",
        ) from None


def _load(name: str) -> "Tokenizer":
    from neogpt.tokenizer import Tokenizer  # start-up time

    if name == "gpt2":
        return Tokenizer.gpt2()
    if not RunDir(Path(name)).checkpoints.is_dir():
        return Tokenizer.load(name)

    from neogpt import model_store  # start-up time: torch

    return model_store.load_tokenizer(name)


def _facts(tokenizer: "Tokenizer") -> dict[str, Any]:
    keys = ("vocab_size", "eot_id", "fingerprint")
    return {key: getattr(tokenizer, key) for key in keys}


def _line(found: dict[str, Any]) -> str:
    return f"{found['vocab_size']:,} tokens, end-of-text {found['eot_id']}, fingerprint {found['fingerprint'][:12]}"


def _piece(tokenizer: "Tokenizer", token_id: int) -> str:
    """A token as text; bytes that are only part of a character as \\xNN."""
    return tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace")


def _print(found: dict[str, Any], tokenizer: "Tokenizer") -> None:
    print(f"{found['tokenizer']}: {_line(found)}")
    if "ids" not in found:
        print("longest:", *map(repr, found["longest"]))
        return
    ids, n_bytes = found["ids"], len(found["text"].encode("utf-8", "replace"))
    print(f"{len(ids):,} tokens, {n_bytes:,} bytes" + (f", {n_bytes / len(ids):.2f} a token" if ids else ""))
    for token_id in ids[:_SHOWN]:
        print(f"{token_id:>6}  {_quoted(tokenizer.token_bytes(token_id))}")
    if len(ids) > _SHOWN:
        print(f"... and {len(ids) - _SHOWN:,} more (--json has all)")


def _quoted(token: bytes) -> str:
    """A token in quotes, without characters that drive a terminal; b'...' where it is no whole character."""
    try:
        return repr(token.decode())
    except UnicodeDecodeError:
        return repr(token)


def _train_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "train",
        "Learn a byte-level BPE from text; the same text always gives the same tokenizer.",
        "neogpt tokenizer train books/ --vocab-size 4096 --out my-tokenizer",
        "neogpt tokenizer train 'data/*.parquet' --column content --out my-tokenizer",
    )
    many = "text, JSON lines or parquet (.txt .md .jsonl .parquet, also .gz .xz .zst), folders, globs"
    parser.add_argument("files", nargs="+", metavar="FILES", help=many)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--vocab-size", type=int, default=8192, metavar="N", help="tokens at most (default 8192)"
    )
    parser.add_argument("--column", default="text", help="column of JSON lines and parquet (default text)")
    parser.add_argument(
        "--whole-words", type=_words_file, metavar="FILE", help="words that must be one token, one a line"
    )
    parser.add_argument(
        "--max-characters",
        type=int,
        default=200_000_000,
        metavar="N",
        help="text to read; 0: all (default 2e8)",
    )
    parser.add_argument("--force", action="store_true", help="replace another tokenizer in DIR")
    return parser


def _show_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "show",
        "What a tokenizer is, and how it cuts a text.",
        'neogpt tokenizer show gpt2 "Hello, I\'m a language model,"',
        "neogpt tokenizer show runs/demo/sft 'Where does Kelom live?' --json",
    )
    parser.add_argument("tokenizer", metavar="DIR", help="gpt2, a tokenizer's or model's folder, or a run")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="a text to cut into tokens")
    return parser


def _parser(verb: str, description: str, *examples: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"neogpt tokenizer {verb}",
        description=description,
        epilog="examples: " + "\n          ".join(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _words_file(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {name}: {error}", "a UTF-8 text file with one word a line", code="data.unreadable"
        ) from None
