"""Learning a byte-level BPE from text: the same texts, in any order, give the same tokenizer."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from neogpt.errors import ConfigError, DataError
from neogpt.tokenizer.alphabet import END_OF_TEXT, byte_to_char
from neogpt.tokenizer.tables import BPE

MIN_VOCAB, MAX_VOCAB = 257, 65_536  # 256 bytes and end-of-text; ids are stored in 16 bits

Merges = list[tuple[str, str]]


def train(texts: Iterable[str], vocab_size: int, whole_words: Sequence[str] = ()) -> BPE:
    """Learn merges from `texts` until there are `vocab_size` tokens (fewer when the text has no more).

    Ids: 256 bytes in GPT-2's order, then merges by rank, then end-of-text last. Ties between equally
    frequent pairs go to the smaller ids. A pair seen once is never merged. Each of `whole_words` becomes one
    token both at the start of a text ("Kelom") and after a space (" Kelom"), or only after a space when it is
    given with one: their missing merges are put after the learned ones, where they cannot change how anything
    else is split before them.
    ConfigError for an impossible size or word, DataError for empty text.
    Source: Sennrich et al. 2016; Radford et al. 2019 (bytes).
    """
    if not MIN_VOCAB <= vocab_size <= MAX_VOCAB:
        raise ConfigError(
            f"vocab_size is {vocab_size}", f"{MIN_VOCAB} to {MAX_VOCAB} tokens", code="config.out_of_range"
        )
    words = _forms(whole_words)
    learned = _learn(texts, vocab_size - 1)
    merges = _with_words(learned, words, vocab_size - MIN_VOCAB) if words else learned
    tokens = [*byte_to_char().values(), *_new_tokens(merges), END_OF_TEXT]
    return BPE({token: i for i, token in enumerate(tokens)}, merges)


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _new_tokens(merges: Merges) -> list[str]:
    """The tokens that merges make, each once (two merges can make the same one)."""
    return list(dict.fromkeys(left + right for left, right in merges))


def _learn(texts: Iterable[str], n_tokens: int) -> Merges:
    """The merges that the `tokenizers` library learns, best first; a shorter run learns a prefix of them."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = _splitter()
    alphabet = list(byte_to_char().values())
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    n_chars = 0

    def counted() -> Iterable[str]:
        nonlocal n_chars
        for text in texts:
            n_chars += len(text)
            yield text

    backend.train_from_iterator(counted(), trainer=trainer)
    if not n_chars:
        raise DataError(
            "there is no text to train a tokenizer on",
            "at least one text that is not empty",
            code="data.no_text",
        )
    return [(left, right) for left, right in json.loads(backend.to_str())["model"]["merges"]]


def _forms(whole_words: Sequence[str]) -> list[str]:
    """Each word's forms (see `train`) in the byte alphabet; ConfigError for one that the splitter cuts."""
    forms = []
    for word in whole_words:
        for text in (word,) if word.startswith(" ") else (word, f" {word}"):
            pieces = _splitter().pre_tokenize_str(text)
            if word.split() != [word.removeprefix(" ")] or len(pieces) != 1:
                raise ConfigError(
                    f"{word!r} cannot be one token: spaces, digits and signs cut it",
                    "whole words of letters only, of digits only or of signs only",
                    code="tokenizer.bad_whole_word",
                )
            forms.append(pieces[0][0])
    return list(dict.fromkeys(forms))


def _with_words(learned: Merges, words: list[str], n_tokens: int) -> Merges:
    """The most learned merges that leave room for those that complete `words`, and these after them."""

    def merges(keep: int) -> Merges:
        return learned[:keep] + _completing(learned[:keep], words)

    keep = len(learned)
    while (excess := len(_new_tokens(merges(keep))) - n_tokens) > 0:
        if keep == 0:
            raise ConfigError(
                f"the whole words (with spaces: {len(words)}) do not fit into {n_tokens + MIN_VOCAB} tokens",
                f"{n_tokens + MIN_VOCAB + excess} tokens or more",
                code="tokenizer.bad_whole_word",
            )
        keep = max(0, keep - excess)
    return _filled(merges(keep), learned[keep:], n_tokens)


def _filled(merges: Merges, further: Merges, n_tokens: int) -> Merges:
    """`merges`, with as many of the `further` ones after them as there is room for."""
    tokens = set(_new_tokens(merges))
    for pair in further:
        if len(tokens) == n_tokens:
            break
        if pair not in merges:
            merges = [*merges, pair]
            tokens.add(pair[0] + pair[1])
    return merges


def _completing(merges: Merges, words: list[str]) -> Merges:
    """The further merges, each the most frequent pair at its turn, that make every word one token.

    They rank below `merges`, and BPE always applies the best-ranked merge it can, so adding one never undoes
    what those before it did: a word that is whole stays whole.
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    split = [_apply(ranks, list(word)) for word in words]
    added: Merges = []
    while split := [pieces for pieces in split if len(pieces) > 1]:
        pairs = Counter(pair for pieces in split for pair in set(pairwise(pieces)))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        added.append(best)
        ranks[best] = len(ranks)
        split = [_apply(ranks, pieces) if best in pairwise(pieces) else pieces for pieces in split]
    return added


def _apply(ranks: dict[tuple[str, str], int], pieces: list[str]) -> list[str]:
    """`pieces` after every merge that applies: the best-ranked first, the leftmost of equals."""
    while found := [(ranks[pair], i) for i, pair in enumerate(pairwise(pieces)) if pair in ranks]:
        _, i = min(found)
        pieces = [*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :]]
    return pieces
