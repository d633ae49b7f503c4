"""A conversation with a model: its turns, what still fits into the context, and the next answer."""

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neogpt.inference.sampling_params import SamplingParams
from neogpt.tokenizer.template import Turn, encode_prompt

if TYPE_CHECKING:
    from neogpt.inference.engine import Completion, Engine

_ANSWER_SHARE = 4
"""A quarter of the context is kept free for the answer, where old turns can be dropped for it."""
ALL_TURNS = 1_000_000


@dataclass
class Conversation:
    """The state of one chat; `ask` streams an answer and `keep` makes it part of the history."""

    engine: "Engine"
    sampling: SamplingParams
    system: str = ""
    """Background that goes with the newest question, as the context that models are fine-tuned with."""
    max_history_turns: int = ALL_TURNS
    """How many of the last turns the model sees with a question."""
    turns: list[Turn] = field(default_factory=list)
    n_dropped: int = 0
    """Turns at the beginning that no longer fit."""
    _n_asked: int = 0

    def ask(self, instruction: str) -> "Generator[str, None, Completion]":
        """The answer, piece by piece; each asking draws anew, so a retry gives another answer.

        Errors: ConfigError when the question alone leaves no room in the context.
        """
        prompt = self._fit(instruction)
        self._n_asked += 1
        return self.engine.stream(prompt, self.sampling, request_id=self._n_asked - 1)

    def keep(self, instruction: str, answer: str) -> None:
        """Add a finished exchange to the history."""
        self.turns.append(Turn(instruction, "", answer))

    def take_back(self) -> None:
        """Remove the last exchange."""
        self.turns.pop()

    def reset(self) -> None:
        """Forget all turns; the system text stays."""
        self.turns.clear()
        self.n_dropped = 0

    def set_temperature(self, temperature: float) -> None:
        """Errors: ConfigError when it is negative or not finite."""
        self.sampling = dataclasses.replace(self.sampling, temperature=temperature)

    def record(self) -> dict[str, Any]:
        """The conversation as JSON-ready values."""
        turns = [{"instruction": turn.instruction, "response": turn.response} for turn in self.turns]
        return {"system": self.system, "turns": turns, "sampling": dataclasses.asdict(self.sampling)}

    def _fit(self, instruction: str) -> list[int]:
        """The prompt with as many of the last turns as leave room for an answer."""
        n_positions = self.engine.model.config.n_positions
        room = n_positions - min(self.sampling.max_new_tokens, n_positions // _ANSWER_SHARE)
        oldest = max(0, len(self.turns) - self.max_history_turns)
        for first in range(max(oldest, min(self.n_dropped, len(self.turns))), len(self.turns) + 1):
            prompt = encode_prompt(self.engine.tokenizer, instruction, self.system, self.turns[first:])
            if len(prompt) <= room:
                break
        if first > oldest:
            self.n_dropped = first
        return prompt
