"""Tokens of one answer into text as they come: whole characters only, cut at a stop string."""

from collections.abc import Sequence

from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.bpe import StreamDecoder


class AnswerText:
    """Turns tokens into the text that may be shown so far.

    What could still become a stop string, or a character of several tokens, is held back until it is settled.
    Stop strings act as if characters came one by one: the one that ends first ends the text, and of those that
    end together the longest is cut off, wherever the borders of tokens lie.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._stop = tuple(stop)
        self._held = ""
        self._shown: list[str] = []
        self._taken = 0
        self.stopped = False

    @property
    def text(self) -> str:
        """Everything that may be shown so far."""
        return "".join(self._shown)

    def push(self, token: int) -> None:
        """Add one token; afterwards `stopped` is true when it completed a stop string."""
        self._add(self._decoder.push(token))

    def finish(self) -> None:
        """No more tokens come: what was held back is text after all."""
        if not self.stopped:
            self._add(self._decoder.flush())
        self._show_all_but(0)

    def take(self) -> str:
        """What may be shown and has not been taken yet."""
        new = "".join(self._shown[self._taken :])
        self._taken = len(self._shown)
        return new

    def _add(self, piece: str) -> None:
        self._held += piece
        if not self._stop:
            self._show_all_but(0)
        elif (start := self._stop_start()) is not None:
            self._show(self._held[:start])
            self._held, self.stopped = "", True
        else:
            self._show_all_but(self._n_undecided())

    def _stop_start(self) -> int | None:
        """Where the stop string begins that ends first, if there is one."""
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _n_undecided(self) -> int:
        """How many of the last characters could be the beginning of a stop string."""
        longest = min(len(self._held), max(map(len, self._stop)) - 1)
        for n in range(longest, 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self._stop):
                return n
        return 0

    def _show_all_but(self, n: int) -> None:
        end = len(self._held) - n
        self._show(self._held[:end])
        self._held = self._held[end:]

    def _show(self, piece: str) -> None:
        if piece:
            self._shown.append(piece)
