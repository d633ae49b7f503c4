"""Log-likelihoods of several continuations of the same text, as multiple-choice tasks ask for them.

What the continuations of a task share goes through the model once, into a key-value cache; they go on from
copies of it, in batches of like length. Logits exist only for the tokens that are scored. Sums come out in
another order than when each continuation goes through the model alone, so they differ by rounding: `alone`
is the reference, and `best` asks it wherever rounding could decide.

Shapes: P texts to continue, R continuations, T tokens, D model width, N scored tokens.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neogpt.inference.forward import Inference
from neogpt.inference.kv_cache import KVCache
from neogpt.model import GPT2
from neogpt.model.cross_entropy import token_log_probs

Ids = tuple[int, ...]
_BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens, padding included, that go through the model at once."""
_ROUNDING = 1e-4
"""Relative difference of two scores that float32 arithmetic cannot be trusted with, amply."""


@dataclass(frozen=True)
class Continuation:
    """A text and one continuation of it, as token ids; neither is empty."""

    context: Ids
    continuation: Ids

    def fitted(self, n_positions: int) -> "Continuation":
        """The last tokens that the model has positions for; what is too long loses its beginning.

        The last token is only predicted, so n_positions + 1 tokens fit; at least one of them is context.
        Source: lm-evaluation-harness, `(context + continuation)[-(max_length + 1):]`.
        """
        both = (self.context + self.continuation)[-(n_positions + 1) :]
        n = min(len(self.continuation), len(both) - 1)
        return Continuation(both[:-n], both[-n:])


def log_likelihoods(
    model: GPT2, tasks: Sequence[Sequence[Continuation]], batch_tokens: int | None = None
) -> list[list[float]]:
    """Natural logarithm of each continuation's probability, for each request of each task.

    The requests of a task need not share their context; where they do, it is computed once.
    """
    size = batch_tokens or _BATCH_TOKENS.get(model.device.type, _BATCH_TOKENS["cuda"])
    fitted = [[r.fitted(model.config.n_positions) for r in task] for task in tasks]
    found = [[0.0] * len(task) for task in tasks]
    wanted: dict[tuple[int, Ids], list[tuple[int, Ids]]] = {}
    for i, task in enumerate(fitted):
        for j, request in enumerate(task):
            wanted.setdefault((i, request.context), []).append((j, request.continuation))
    texts = sorted(wanted, key=lambda text: -len(text[1]))
    for batch in _batches([len(context) for _, context in texts], size):
        here = [texts[k] for k in batch]
        endings = [[ids for _, ids in wanted[text]] for text in here]
        scores = _score(model, [context for _, context in here], endings, size)
        for text, values in zip(here, scores, strict=True):
            for (j, _), value in zip(wanted[text], values, strict=True):
                found[text[0]][j] = value
    return found


def alone(model: GPT2, request: Continuation) -> float:
    """The same for one request, by one plain forward: no cache, no padding, no company."""
    request = request.fitted(model.config.n_positions)
    tokens_T = torch.tensor(request.context + request.continuation, device=model.device)
    n = len(request.continuation)
    x_ND = model.hidden(tokens_T[None, :-1])[0, -n:]
    return float(_token_log_probs(model, x_ND, tokens_T[-n:]).sum())


def completions(
    model: GPT2, requests: Sequence[Continuation], batch_tokens: int | None = None
) -> list[tuple[float, bool]]:
    """For each request the log-likelihood, and whether greedy decoding writes exactly that continuation.

    Where rounding could decide which token is the most likely, the request goes through the model alone.
    """
    size = batch_tokens or _BATCH_TOKENS.get(model.device.type, _BATCH_TOKENS["cuda"])
    fitted = [request.fitted(model.config.n_positions) for request in requests]
    order = sorted(range(len(fitted)), key=lambda i: -len(fitted[i].context) - len(fitted[i].continuation))
    found: dict[int, tuple[float, bool]] = {}
    for batch in _batches([len(fitted[i].context) + len(fitted[i].continuation) - 1 for i in order], size):
        chosen = [order[k] for k in batch]
        for i, (value, is_greedy, is_sure) in zip(
            chosen, _greedy(model, [fitted[i] for i in chosen]), strict=True
        ):
            found[i] = (value, is_greedy if is_sure else _greedy(model, [fitted[i]])[0][1])
    return [found[i] for i in range(len(fitted))]


def _greedy(model: GPT2, requests: Sequence[Continuation]) -> list[tuple[float, bool, bool]]:
    """Log-likelihood, whether all tokens are the most likely, and whether no two logits are within rounding."""
    inputs = [(r.context + r.continuation)[:-1] for r in requests]
    x_BTD = model.hidden(_padded(inputs, model))
    results = []
    for x_TD, ids, request in zip(x_BTD, inputs, requests, strict=True):
        targets_N = torch.tensor(request.continuation, device=x_TD.device)
        x_ND = x_TD[len(ids) - len(targets_N) : len(ids)]
        logits_NV = x_ND @ model.transformer.wte.weight.T
        two_N2 = logits_NV.topk(2).values
        is_sure = bool((two_N2[:, 0] - two_N2[:, 1] > _ROUNDING * two_N2.abs().amax(1)).all())
        is_greedy = bool((logits_NV.argmax(-1) == targets_N).all())
        results.append((float(_token_log_probs(model, x_ND, targets_N).sum()), is_greedy, is_sure))
    return results


def best(
    model: GPT2, requests: Sequence[Continuation], values: Sequence[float], lengths: Sequence[float]
) -> int:
    """The request with the highest log-likelihood over length, exactly as `alone` ranks them; the first of equals.

    `values` are what `log_likelihoods` found. Requests that come nearer to the highest than rounding may reach
    are scored again alone, so the answer depends neither on batch size nor on who else was in the batch.
    """
    scores = [value / length for value, length in zip(values, lengths, strict=True)]
    limit = max(scores) - _ROUNDING * abs(max(scores))
    near = [j for j, score in enumerate(scores) if not score < limit]  # NaN too
    if len(near) > 1:
        scores = [alone(model, r) / lengths[j] if j in near else -math.inf for j, r in enumerate(requests)]
    return max(range(len(scores)), key=scores.__getitem__)


def _token_log_probs(model: GPT2, x_ND: Tensor, targets_N: Tensor) -> Tensor:
    """log p of each target in float64 on the CPU, where sums are the same everywhere."""
    return token_log_probs(x_ND, model.transformer.wte.weight, targets_N.to(x_ND.device)).cpu().double()


def _batches(lengths: Sequence[int], size: int) -> Iterator[range]:
    """Consecutive items, padded to the longest, of at most `size` tokens together (one item at least)."""
    start, longest = 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > start and (i - start + 1) * longest > size:
            yield range(start, i)
            start, longest = i, length
    if start < len(lengths):
        yield range(start, len(lengths))


def _score(
    model: GPT2, contexts: Sequence[Ids], endings: Sequence[Sequence[Ids]], size: int
) -> list[list[float]]:
    """Log-likelihoods of each context's endings."""
    dtype = model.transformer.wte.weight.dtype
    cache = KVCache(model.config, len(contexts), max(map(len, contexts)), dtype, model.device)
    inference = Inference(model)
    x_PD = _prefill(model, inference, cache, contexts)
    rows = [(p, ids) for p, texts in enumerate(endings) for ids in texts]
    owners_R = torch.tensor([p for p, _ in rows], device=model.device)
    sums_R = _token_log_probs(model, x_PD[owners_R], torch.tensor([ids[0] for _, ids in rows]))
    longer = sorted((r for r, (_, ids) in enumerate(rows) if len(ids) > 1), key=lambda r: -len(rows[r][1]))
    for batch in _batches([len(rows[r][1]) - 1 for r in longer], size):
        chosen = [longer[k] for k in batch]
        sums_R[chosen] += _continue(model, inference, cache, [rows[r] for r in chosen])
    values = iter(sums_R.tolist())
    return [[next(values) for _ in texts] for texts in endings]


def _prefill(model: GPT2, inference: Inference, cache: KVCache, contexts: Sequence[Ids]) -> Tensor:
    """Every context into its row of the cache; hidden states of their last tokens (P, D)."""
    lengths_P = torch.tensor([len(ids) for ids in contexts])
    x_PTD = inference.hidden(_padded(contexts, model), cache)
    cache.advance(lengths_P)
    return x_PTD[torch.arange(len(contexts)), lengths_P - 1]


def _continue(model: GPT2, inference: Inference, cache: KVCache, rows: Sequence[tuple[int, Ids]]) -> Tensor:
    """Log-likelihoods (R,) of endings after their first token, each following a row of the cache."""
    inputs = [ids[:-1] for _, ids in rows]
    owners = torch.tensor([p for p, _ in rows])
    longest = int(max(n + len(ids) for n, ids in zip(cache.lengths_B[owners].tolist(), inputs, strict=True)))
    x_RTD = inference.hidden(_padded(inputs, model), cache.fork(owners, longest))
    lengths_R = torch.tensor([len(ids) for ids in inputs])
    is_real_RT = torch.arange(int(lengths_R.max())) < lengths_R[:, None]
    targets_N = torch.tensor([token for _, ids in rows for token in ids[1:]])
    logp_N = _token_log_probs(model, x_RTD[is_real_RT.to(x_RTD.device)], targets_N)
    owner_N = torch.repeat_interleave(torch.arange(len(rows)), lengths_R)
    return logp_N.new_zeros(len(rows)).index_add(0, owner_N, logp_N)


def _padded(texts: Sequence[Ids], model: GPT2) -> Tensor:
    tokens_BT = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
    for row, ids in zip(tokens_BT, texts, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return tokens_BT.to(model.device)
