"""The engine: prompts in, texts out; batched, with a key-value cache, for everything that samples."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from neogpt.errors import ConfigError
from neogpt.inference.sampling_params import SamplingParams
from neogpt.inference.scheduler import FinishReason, Request, Scheduler
from neogpt.inference.streaming import AnswerText
from neogpt.model.gpt2 import GPT2
from neogpt.tokenizer import Tokenizer

Settings = SamplingParams | Sequence[SamplingParams]
_DEFAULT = SamplingParams()


@dataclass(frozen=True)
class Completion:
    """What followed one prompt."""

    tokens: list[int]
    """All sampled tokens, with the end-of-text or the stop string that ended them."""
    text: str
    """Their text, without end-of-text, cut before the stop string."""
    finish_reason: FinishReason
    """"stop": end-of-text or a stop string; "length": max_new_tokens or the end of the context."""
    log_probs: list[float]
    """Of each token: the model's own log-probability at the sampling temperature (at 1 where that is 0), before
    the repetition penalty, top-k and top-p."""


class Engine:
    """Samples from `model`, up to `max_rows` texts at once; finished rows make room for waiting prompts.

    `dtype`: precision of the matrix products by autocast (torch.bfloat16); None: as the weights are. What a row
    draws depends on (seed, request id, position) only, so texts depend neither on `max_rows` nor on who shares the
    batch, save where two tokens tie to the last bits of float arithmetic. The weights are read at each call, so an
    engine may be kept while its model trains; the model's mode is left alone.
    Errors: ConfigError when the tokenizer knows more ids than the model.
    """

    def __init__(
        self, model: GPT2, tokenizer: Tokenizer, max_rows: int = 64, dtype: torch.dtype | None = None
    ) -> None:
        if max_rows < 1:
            raise ConfigError(
                f"max_rows is {max_rows}", "a whole number from 1 up", code="generate.out_of_range"
            )
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ConfigError(
                f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}",
                "a tokenizer with at most as many ids as the model",
                "the tokenizer that the model was trained with",
                code="generate.vocabularies_differ",
            )
        self.model, self.tokenizer, self.max_rows, self.dtype = model, tokenizer, max_rows, dtype

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Settings = _DEFAULT,
        request_ids: Sequence[int] | None = None,
    ) -> list[Completion]:
        """What follows each prompt, in order; `sampling` is one for all or one for each.

        `request_ids` name the streams of random numbers (default: the prompt's index): the same prompt with the
        same id gives the same text, with another id another one.
        Errors: ConfigError for a prompt that is empty, leaves no room in the context or has unknown ids;
        DivergedError when the model gives NaN.
        """
        requests = self.requests(prompts, sampling, request_ids)
        if not requests:
            return []
        longest = max(len(request.prompt) + request.limit for request in requests)
        rows = self.rows(min(self.max_rows, len(requests)), longest)
        for request in sorted(
            requests, key=lambda request: -len(request.prompt)
        ):  # less padding side by side
            rows.submit(request)
        while rows.is_busy:
            rows.step()
        return [self.completion(request) for request in requests]

    def stream(
        self, prompt: Sequence[int], sampling: SamplingParams = _DEFAULT, request_id: int = 0
    ) -> Generator[str, None, Completion]:
        """The text of `complete` for one prompt, piece by piece: whole characters, no part of a stop string.

        The generator's return value is the whole completion. Errors: as `complete`, when the first piece is
        asked for.
        """
        [request] = self.requests([prompt], sampling, [request_id], follow=True)
        rows = self.rows(1, len(prompt) + request.limit)
        rows.submit(request)
        assert request.text is not None
        while rows.is_busy:
            rows.step()
            if piece := request.text.take():
                yield piece
        return self.completion(request)

    def rows(self, n_rows: int, max_length: int | None = None) -> Scheduler:
        """An empty batch for requests that come and go (a server's); `max_length` tokens with their prompt."""
        n_positions = self.model.config.n_positions
        n_ids = self.tokenizer.vocab_size
        return Scheduler(
            self.model, self.tokenizer.eot_id, n_ids, n_rows, max_length or n_positions, self.dtype
        )

    def requests(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Settings,
        request_ids: Sequence[int] | None = None,
        follow: bool = False,
    ) -> list[Request]:
        """Checked requests for `Scheduler`; `follow` gives each a text that grows with its tokens."""
        samplings = [sampling] * len(prompts) if isinstance(sampling, SamplingParams) else list(sampling)
        ids = range(len(prompts)) if request_ids is None else request_ids
        if not len(prompts) == len(samplings) == len(ids):
            raise ConfigError(
                f"{len(prompts)} prompts, {len(samplings)} samplings and {len(ids)} request ids",
                "one for each prompt",
                code="generate.counts_differ",
            )
        return [self._request(*parts, follow) for parts in zip(prompts, samplings, ids, strict=True)]

    def completion(self, request: Request) -> Completion:
        """A finished request as a result."""
        assert request.finish_reason is not None
        if request.text:
            text = request.text.text
        else:
            ended = bool(request.tokens) and request.tokens[-1] == self.tokenizer.eot_id
            text = self.tokenizer.decode(request.tokens[: len(request.tokens) - ended])
        return Completion(list(request.tokens), text, request.finish_reason, list(request.log_probs))

    def _request(
        self, prompt: Sequence[int], sampling: SamplingParams, request_id: int, follow: bool
    ) -> Request:
        config = self.model.config
        room = config.n_positions - len(prompt)
        if not prompt:
            raise ConfigError(
                "a prompt has no tokens",
                "at least one",
                "begin it with end-of-text",
                code="generate.empty_prompt",
            )
        if room < 1:
            raise ConfigError(
                f"a prompt of {len(prompt)} tokens leaves no room to generate",
                f"at most {config.n_positions - 1} tokens: the model's context is {config.n_positions}",
                "shorten the prompt",
                code="generate.prompt_too_long",
            )
        if not 0 <= min(prompt) <= max(prompt) < config.vocab_size:
            raise ConfigError(
                f"a prompt holds token id {max(prompt, key=lambda id: abs(id))}",
                f"ids from 0 to {config.vocab_size - 1}",
                code="generate.bad_token_id",
            )
        text = AnswerText(self.tokenizer, sampling.stop) if follow or sampling.stop else None
        return Request(prompt, sampling, request_id, min(sampling.max_new_tokens, room), text)
