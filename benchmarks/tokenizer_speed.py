"""How fast text becomes ids: NeoGPT, the `tokenizers` library alone, and tiktoken, on one core.

    NEOGPT_DATA=DIR .venv/bin/python benchmarks/tokenizer_speed.py FILES... [--megabytes 5] [--repeat 5]

Rates are megabytes of UTF-8 a second of processor time, so other work on the machine counts little. "First"
is a fresh tokenizer that has seen no word yet; the others have seen the text once. All three must agree on
every id. tiktoken is built from the same vocabulary files.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext.openai_public import r50k_pat_str  # type: ignore[import-untyped]

from neogpt.data.sources import files
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer, gpt2_files

Encode = Callable[[str], list[int]]


def read(names: list[str], n_bytes: int) -> list[str]:
    """Documents of the files, until there are `n_bytes`."""
    texts: list[str] = []
    for name in names:
        config = files.Files(path=name)
        for part in config.parts():
            for document in config.documents(part, RowStats()):
                texts.append(document.text)
                n_bytes -= len(document.text.encode())
                if n_bytes <= 0:
                    return texts
    return texts


def timed(encode: Encode, texts: list[str]) -> tuple[float, list[list[int]]]:
    """Processor seconds, and the ids."""
    began = time.process_time()
    ids = [encode(text) for text in texts]
    return time.process_time() - began, ids


def tiktoken_gpt2() -> tiktoken.Encoding:
    encoder, merges = map(str, gpt2_files.locate())
    ranks = data_gym_to_mergeable_bpe_ranks(merges, encoder)
    return tiktoken.Encoding(
        "gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", help="text, JSON lines or parquet")
    parser.add_argument("--megabytes", type=float, default=5.0, help="how much text")
    parser.add_argument("--repeat", type=int, default=5, help="samples each")
    options = parser.parse_args()
    texts = read(options.files, int(options.megabytes * 1e6))
    size = sum(len(text.encode()) for text in texts) / 1e6
    warm, tik = Tokenizer.gpt2(), tiktoken_gpt2()
    encoders: dict[str, Callable[[], Encode]] = {
        "neogpt, first": lambda: Tokenizer.gpt2().encode,
        "neogpt": lambda: warm.encode,
        "tokenizers": lambda: warm._encode,
        "tiktoken": lambda: tik.encode_ordinary,
    }
    expected = timed(warm.encode, texts)[1]
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(options.repeat):
        for name, make in encoders.items():
            seconds, ids = timed(make(), texts)
            if ids != expected:
                raise SystemExit(f"{name} gives other ids")
            rates[name].append(size / seconds)
    print(f"{len(texts):,} documents, {size:.2f} MB, {sum(map(len, expected)):,} tokens; all ids agree")
    for name, found in rates.items():
        low, high = min(found), max(found)
        print(f"{name:<15}{statistics.median(found):6.1f} MB/s   ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
