"""Continuous batching: many texts grow side by side, and a finished one makes room for the next.

Each step computes rows 0 to `_span`. A finished row leaves a hole there, which the next waiting prompt fills; when
nobody waits, rows from the end move into the holes. Source of the method: Yu et al. 2022, "Orca: A Distributed
Serving System for Transformer-Based Generative Models".

Shapes: R rows, P different prompts, T tokens of the longest prompt, D model width, V vocabulary, N new tokens.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neogpt.errors import DivergedError
from neogpt.inference.forward import Inference
from neogpt.inference.kv_cache import KVCache
from neogpt.inference.sampler import RowSettings, sample_tokens
from neogpt.inference.sampling_params import SamplingParams, stream_key, uniforms
from neogpt.inference.streaming import AnswerText
from neogpt.model.gpt2 import GPT2

FinishReason = Literal["stop", "length"]
_PREFILL_TOKENS = 8192  # tokens of prompts that are read in one pass; more would only need more memory
_REFILL_SHARE = 4  # prompts wait until a quarter of the rows is free: one pass over many costs less than many
_IDLE_SHARE = 8  # an idle row costs as much as a running one: an eighth of them at most
_NOBODY = SamplingParams()


@dataclass(eq=False)
class Request:
    """One prompt on its way to becoming a text."""

    prompt: Sequence[int]
    sampling: SamplingParams
    request_id: int
    limit: int
    """Most new tokens, by `max_new_tokens` and by the context."""
    text: AnswerText | None = None
    """Present when the text must be followed while it grows (stop strings, streaming)."""
    tokens: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None
    """None until it is finished."""


class Scheduler:
    """Up to `n_rows` requests at once, each in a row of one KV cache of `max_length` tokens.

    `submit` puts a request in the queue; `step` reads prompts or adds one token to every running row, and returns
    the requests that this finished. Ids below `n_ids` can be chosen; `eot_id` ends a text, and the repetition
    penalty spares it, since every prompt begins with it. With `dtype` the matrix products run in it.
    """

    def __init__(
        self,
        model: GPT2,
        eot_id: int,
        n_ids: int,
        n_rows: int,
        max_length: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._config, self._eot_id, self._n_ids, self._device = model.config, eot_id, n_ids, model.device
        self._inference = Inference(model, dtype)
        self._cache = KVCache(model.config, n_rows, max_length, self._inference.cache_dtype, self._device)
        self._spanned: KVCache | None = None
        self._waiting: deque[Request] = deque()
        self._requests: list[Request | None] = [None] * n_rows
        self._is_running = np.zeros(n_rows, dtype=bool)
        self._span = self._n_texts = 0
        self._keys = np.zeros(n_rows, dtype=np.uint64)
        self._counts = np.zeros(n_rows, dtype=np.int64)
        self._limits = np.zeros(n_rows, dtype=np.int64)
        self._tokens_RN = np.zeros((n_rows, max_length), dtype=np.int64)
        self._log_probs_RN = np.zeros((n_rows, max_length), dtype=np.float32)
        self._seen_RV: Tensor | None = None
        self._settings: RowSettings | None = None

    @property
    def is_busy(self) -> bool:
        """True while a request waits or runs."""
        return bool(self._waiting) or bool(self._is_running.any())

    def submit(self, request: Request) -> None:
        """Put a request at the end of the queue."""
        self._waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Forget a request, wherever it is; its row is free at once."""
        if request in self._waiting:
            self._waiting.remove(request)
        elif request in self._requests:
            self._release(np.array([self._requests.index(request)]))

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """Let waiting prompts in, or add a token to every running row; what is finished by that."""
        with torch.autocast(self._device.type, enabled=False):  # also where training has it on
            if self._should_admit():
                return self._admit()
            self._close_holes()
            return self._decode() if self._span else []

    def _should_admit(self) -> bool:
        n_free = len(self._requests) - int(self._is_running.sum())
        return 0 < min(len(self._waiting), -(-len(self._requests) // _REFILL_SHARE)) <= n_free

    def _admit(self) -> list[Request]:
        """Read as many waiting prompts as there is room for, and sample_tokens the first token of each."""
        free = np.flatnonzero(~self._is_running)[: len(self._waiting)]
        requests = [self._waiting.popleft() for _ in range(self._n_readable(len(free)))]
        slots = free[: len(requests)]
        for slot, request in zip(slots.tolist(), requests, strict=True):
            self._occupy(slot, request)
        self._span = max(self._span, int(slots[-1]) + 1)
        settings = RowSettings.of([r.sampling for r in requests], self._n_ids, self._device)
        return self._sample(slots, self._read(requests, slots), settings)

    def _n_readable(self, n_free: int) -> int:
        longest = 0
        for n in range(n_free):
            longest = max(longest, len(self._waiting[n].prompt))
            if n and (n + 1) * longest > _PREFILL_TOKENS:
                return n
        return n_free

    def _occupy(self, slot: int, request: Request) -> None:
        self._requests[slot], self._is_running[slot], self._settings = request, True, None
        self._keys[slot] = stream_key(request.sampling.seed, request.request_id)
        self._counts[slot], self._limits[slot] = 0, request.limit
        self._n_texts += request.text is not None
        if request.sampling.repetition_penalty != 1:
            self._mark_prompt(slot, request.prompt)

    def _mark_prompt(self, slot: int, prompt: Sequence[int]) -> None:
        if self._seen_RV is None:
            shape = (len(self._requests), self._config.vocab_size)
            self._seen_RV = torch.zeros(shape, dtype=torch.bool, device=self._device)
        self._seen_RV[slot] = False
        self._seen_RV[slot, torch.as_tensor(prompt, device=self._device)] = True
        self._seen_RV[slot, self._eot_id] = False

    def _read(self, requests: Sequence[Request], slots: npt.NDArray[np.int64]) -> Tensor:
        """Run the prompts, padded on the right to one length: what follows each of them, (R, D).

        Equal prompts (a group of answers) are read once, and what was read is copied.
        """
        first: dict[tuple[int, ...], int] = {}
        same_R = [first.setdefault(tuple(request.prompt), len(first)) for request in requests]
        lengths = torch.tensor([len(prompt) for prompt in first])
        tokens_PT = np.zeros((len(first), int(lengths.max())), dtype=np.int64)
        for row, prompt in enumerate(first):
            tokens_PT[row, : len(prompt)] = prompt
        readers = slots[[same_R.index(p) for p in range(len(first))]]
        cache = self._cache.select(torch.from_numpy(readers))
        x_PTD = self._inference.hidden(torch.from_numpy(tokens_PT).to(self._device), cache)
        cache.advance(lengths)
        others = np.setdiff1d(slots, readers)
        if len(others):
            of = readers[np.array(same_R)[np.isin(slots, others)]]
            self._cache.copy(torch.from_numpy(of), torch.from_numpy(others))
        rows_R = torch.tensor(same_R, device=self._device)
        last_P = (lengths - 1).to(self._device)
        return x_PTD[rows_R, last_P[rows_R]]

    def _close_holes(self) -> None:
        """Move rows from the end into holes when too many are idle (a move costs a copy of its keys)."""
        n_running = int(self._is_running.sum())
        if _IDLE_SHARE * (self._span - n_running) <= self._span:
            return
        holes = np.flatnonzero(~self._is_running[:n_running])
        moving = n_running + np.flatnonzero(self._is_running[n_running : self._span])
        self._cache.move(torch.from_numpy(moving), torch.from_numpy(holes))
        for array in (
            self._keys,
            self._counts,
            self._limits,
            self._tokens_RN,
            self._log_probs_RN,
            self._is_running,
        ):
            array[holes] = array[moving]
        if self._seen_RV is not None:
            self._seen_RV[torch.from_numpy(holes)] = self._seen_RV[torch.from_numpy(moving)]
        for to, of in zip(holes.tolist(), moving.tolist(), strict=True):
            self._requests[to], self._requests[of] = self._requests[of], None
        self._is_running[moving] = False
        self._span, self._settings = n_running, None

    def _decode(self) -> list[Request]:
        """One more token for every row of the span; those of holes are thrown away."""
        rows = np.arange(self._span)
        last_R1 = self._tokens_RN[rows, np.maximum(self._counts[rows] - 1, 0), None]
        if self._spanned is None or self._spanned.n_rows != self._span:
            self._spanned = self._cache.select(torch.from_numpy(rows))
        x_R1D = self._inference.hidden(torch.from_numpy(last_R1).to(self._device), self._spanned)
        self._spanned.advance(torch.from_numpy(self._is_running[rows].astype(np.int64)))
        if self._settings is None:
            samplings = [r.sampling if r else _NOBODY for r in self._requests[: self._span]]
            self._settings = RowSettings.of(samplings, self._n_ids, self._device)
        return self._sample(rows, x_R1D[:, 0], self._settings.first(self._span))

    def _sample(self, slots: npt.NDArray[np.int64], x_RD: Tensor, settings: RowSettings) -> list[Request]:
        logits_RV = self._inference.logits(x_RD)
        uniform_R = torch.from_numpy(uniforms(self._keys[slots], self._counts[slots]))
        seen_RV = None if self._seen_RV is None else self._seen_RV[torch.from_numpy(slots).to(self._device)]
        tokens_R, log_p_R = sample_tokens(logits_RV, settings, uniform_R, seen_RV, self._n_ids)
        running = self._is_running[slots]
        return self._record(slots[running], tokens_R.cpu().numpy()[running], log_p_R.cpu().numpy()[running])

    def _record(
        self,
        slots: npt.NDArray[np.int64],
        tokens_R: npt.NDArray[np.int64],
        log_p_R: npt.NDArray[np.float32],
    ) -> list[Request]:
        if not np.isfinite(log_p_R).all():
            raise DivergedError(
                "the model's logits are not finite",
                "finite weights",
                "an earlier checkpoint",
                code="generate.not_finite",
            )
        counts = self._counts[slots]
        self._tokens_RN[slots, counts] = tokens_R
        self._log_probs_RN[slots, counts] = log_p_R
        self._counts[slots] = counts + 1
        if self._seen_RV is not None:
            self._seen_RV[
                torch.from_numpy(slots).to(self._device), torch.from_numpy(tokens_R).to(self._device)
            ] = True
        is_stop = tokens_R == self._eot_id
        is_stop |= self._follow_texts(slots, tokens_R)
        is_done = is_stop | (self._counts[slots] >= self._limits[slots])
        done = slots[is_done]
        finished = [
            self._finish(slot, "stop" if stopped else "length")
            for slot, stopped in zip(done.tolist(), is_stop[is_done], strict=True)
        ]
        if finished:
            self._release(done)
        return finished

    def _follow_texts(
        self, slots: npt.NDArray[np.int64], tokens_R: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Push each new token to the text of its request, where it has one; true where a stop string ended it."""
        stopped = np.zeros(len(slots), dtype=bool)
        if self._n_texts:
            for i, (slot, token) in enumerate(zip(slots.tolist(), tokens_R.tolist(), strict=True)):
                request = self._requests[slot]
                if request and request.text and token != self._eot_id:
                    request.text.push(token)
                    stopped[i] = request.text.stopped
        return stopped

    def _finish(self, slot: int, reason: FinishReason) -> Request:
        request = self._requests[slot]
        assert request is not None
        n = int(self._counts[slot])
        request.tokens = tuple(self._tokens_RN[slot, :n].tolist())
        request.log_probs = tuple(self._log_probs_RN[slot, :n].tolist())
        request.finish_reason = reason
        if request.text:
            request.text.finish()
        return request

    def _release(self, slots: npt.NDArray[np.int64]) -> None:
        for slot in slots.tolist():
            request = self._requests[slot]
            self._n_texts -= request is not None and request.text is not None
            self._requests[slot] = None
        self._is_running[slots] = False
        self._cache.reset(torch.from_numpy(slots))
        running = np.flatnonzero(self._is_running)
        self._span = int(running[-1]) + 1 if len(running) else 0
