"""What the tokenizer's tests compare with: tiktoken, and BPE written out slowly from the papers."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import regex
import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext.openai_public import r50k_pat_str

PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
EOT = "<|endoftext|>"

NASTY = [
    "",
    " ",
    "  \n\n \t x  y ",
    "Hello, I'm a language model,",
    "he'll she'd I've they're we'd 'tis 's''ss",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|><|endoftext|>\n<|endoftext|>",
    "<|endoftext",
    "naïve café Straße ﬁ Å Å e\u0301",
    "日本語 中文字 한국어 عربي עברית हिन्दी ไทย ქართული",
    "😀👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪 👍🏽",
    "1234567890 ½ ² Ⅷ ٣٤ 一二",
    "\u0000\u0001\u001c\u001f\u0085\u00a0\u1680\u180e\u2028\u2029\u202f\u205f\u3000\ufeff\ufffe\uffff",
    "\U00010348\U0001d400\U00020000\U000e0041\U000f0000\U0010ffff\U00012345",
    "def f(x):\n    return x  # tab\there\r\n\r\n",
    "word\u200bword\u200dword\u2060",
    "x" * 300 + " " * 300 + "y" * 5,
    bytes(range(256)).decode("latin-1"),
]


def tiktoken_gpt2(real_data: Path) -> tiktoken.Encoding:
    """tiktoken's GPT-2, built from local files by tiktoken's own reader."""
    folder = real_data / "tokenizer"
    ranks = data_gym_to_mergeable_bpe_ranks(str(folder / "vocab.bpe"), str(folder / "encoder.json"))
    return tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={EOT: 50256})


def alphabet() -> dict[int, str]:
    """OpenAI's bytes_to_unicode, as published."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    chars, n = kept[:], 0
    for byte in range(256):
        if byte not in kept:
            kept.append(byte)
            chars.append(256 + n)
            n += 1
    return dict(zip(kept, map(chr, chars), strict=True))


def words(text: str) -> list[list[str]]:
    """The words of a text, each as characters of the byte alphabet."""
    table = alphabet()
    return [[table[byte] for byte in word.encode()] for word in regex.findall(PATTERN, text)]


def join(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """`pieces` with every occurrence of `pair` merged."""
    out, i = [], 0
    while i < len(pieces):
        step = 2 if tuple(pieces[i : i + 2]) == pair else 1
        out.append("".join(pieces[i : i + step]))
        i += step
    return out


def encode(text: str, merges: Sequence[tuple[str, str]], vocab: dict[str, int]) -> list[int]:
    """GPT-2's published algorithm: again and again the best-ranked merge, everywhere in the word."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    ids = []
    for pieces in words(text):
        while found := [pair for pair in pairwise(pieces) if pair in ranks]:
            pieces = join(pieces, min(found, key=ranks.__getitem__))
        ids += [vocab[piece] for piece in pieces]
    return ids


def learn(texts: Sequence[str], n_tokens: int) -> list[tuple[str, str]]:
    """Sennrich's algorithm by recounting everything each time; ties to the smaller ids; counts from 2 up."""
    counts = Counter(tuple(word) for text in texts for word in words(text))
    ids = {char: i for i, char in enumerate(alphabet().values())}
    merges: list[tuple[str, str]] = []
    while len(ids) < n_tokens:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in counts.items():
            for pair in pairwise(word):
                pairs[pair] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        ids.setdefault("".join(best), len(ids))
        merged: Counter[tuple[str, ...]] = Counter()
        for word, n in counts.items():
            merged[tuple(join(word, best))] += n
        counts = merged
    return merges
