"""Keys and values of tokens already seen, with a length of its own for each row.

Scheduler of different lengths share a batch, and a finished row can be emptied and given to a new prompt while the
others go on (continuous batching; Yu et al. 2022, "Orca").

Shapes: B rows of this view, T new tokens, S keys in sight, H heads, K head size, R rows in storage.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neogpt.config import GPT2Config
from neogpt.errors import ConfigError


class _Plan(NamedTuple):
    """Where T new tokens go, while the lengths stay as they are after `change` changes."""

    change: int
    T: int
    slots_BT: Tensor
    n_seen: int
    where: Tensor
    """Of keys, then values, row by row and head by head, in the flat storage of a layer; on the device."""


class KVCache:
    """Room for `max_length` tokens in each of `rows` rows; a forward writes, `advance` makes it count.

    Use: `Inference(model).hidden(tokens_BT, cache)`, then `cache.advance(n_B)` with how many of the T tokens were
    real in each row (prompts of unequal length are padded on the right; what padding wrote is never seen).
    `cache.select(rows)` is a cache of some of the rows over the same storage: prefill new prompts through it.
    Memory: 2 * n_layer * rows * (max_length + 1) * n_embd numbers. Errors: ConfigError when max_length is
    beyond n_positions or rows are asked for that there are not.
    """

    def __init__(
        self,
        config: GPT2Config,
        rows: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 1 <= max_length <= config.n_positions:
            raise ConfigError(
                f"a cache of {max_length} tokens a row",
                f"1 to n_positions = {config.n_positions}",
                code="generate.cache_size",
            )
        self.max_length = max_length
        self.device = torch.device(device)
        # Slot max_length takes what padding writes beyond the end; nobody reads it.
        shape = (config.n_layer, 2, rows, config.n_head, max_length + 1, config.n_embd // config.n_head)
        self._kv_L2RHSK = torch.zeros(shape, dtype=dtype, device=device)
        self._lengths_R = torch.zeros(rows, dtype=torch.int64)
        self._rows_B = torch.arange(rows)
        self._first_row: int | None = 0  # where the rows follow each other, a slice sees them without a copy
        self._n_changes = [0]  # of the lengths; shared by all views
        self._plan: _Plan | None = None
        self._heads_2BH11: Tensor | None = None  # where each head of each row begins in flat storage

    @property
    def n_rows(self) -> int:
        """Scheduler of this view."""
        return len(self._rows_B)

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        return self._kv_L2RHSK.dtype

    @property
    def lengths_B(self) -> Tensor:
        """Tokens that each row holds: int64 (B,), on the CPU, a copy."""
        return self._lengths_R[self._rows_B]

    def select(self, rows: Sequence[int] | Tensor) -> "KVCache":
        """A cache of only these rows, in this order, over the same storage and lengths."""
        view = object.__new__(KVCache)
        view.__dict__.update(self.__dict__)
        view._rows_B = self._chosen(rows)
        first = int(view._rows_B[0]) if len(view._rows_B) else 0
        is_range = torch.equal(view._rows_B, torch.arange(first, first + view.n_rows))
        view._first_row = first if is_range else None
        view._plan = view._heads_2BH11 = None
        return view

    def fork(self, rows: Sequence[int] | Tensor, max_length: int) -> "KVCache":
        """A cache of its own storage whose rows begin as copies of these: one may be copied several times.

        For continuations that share a beginning: it goes through the model once. Errors: ConfigError when a row
        is longer than `max_length`.
        """
        source = self._chosen(rows)
        S = int(self._lengths_R[source].max())
        if max_length < S:
            raise ConfigError(
                f"a row of {S} tokens in a cache",
                f"at most max_length = {max_length}",
                code="generate.cache_size",
            )
        forked = object.__new__(KVCache)
        forked.__dict__.update(self.__dict__)
        forked.max_length, forked._n_changes = max_length, [0]
        forked._plan = forked._heads_2BH11 = None
        L, _, _, H, _, K = self._kv_L2RHSK.shape
        forked._kv_L2RHSK = self._kv_L2RHSK.new_zeros(L, 2, len(source), H, max_length + 1, K)
        forked._kv_L2RHSK[..., :S, :] = self._kv_L2RHSK[:, :, source.to(self.device), :, :S]
        forked._lengths_R = self._lengths_R[source]
        forked._rows_B, forked._first_row = torch.arange(len(source)), 0
        return forked

    def reset(self, rows: Sequence[int] | Tensor | None = None) -> None:
        """Empty these rows (all of them without an argument), for new prompts."""
        self._lengths_R[self._rows_B if rows is None else self._chosen(rows)] = 0
        self._n_changes[0] += 1

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy rows over other rows, lengths too; the source rows are empty afterwards."""
        self.copy(source, target)
        self._lengths_R[self._rows_B[source.cpu()]] = 0

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Copy rows over other rows, lengths too."""
        source, target = self._rows_B[source.cpu()], self._rows_B[target.cpu()]
        S = int(self._lengths_R[source].max()) if len(source) else 0
        of, to = source.to(self.device), target.to(self.device)
        self._kv_L2RHSK[:, :, to, :, :S] = self._kv_L2RHSK[:, :, of, :, :S]
        self._lengths_R[target] = self._lengths_R[source]
        self._n_changes[0] += 1

    def advance(self, n_B: Sequence[int] | Tensor | int) -> None:
        """Count the first n of the tokens of the last forward as held, row by row."""
        lengths = self.lengths_B + torch.as_tensor(n_B, dtype=torch.int64).cpu()
        if int(lengths.max()) > self.max_length:
            raise ConfigError(
                f"a row of {int(lengths.max())} tokens in a cache",
                f"at most max_length = {self.max_length}",
                code="generate.cache_size",
            )
        self._lengths_R[self._rows_B] = lengths
        self._n_changes[0] += 1

    def positions(self, T: int) -> Tensor:
        """Positions of T new tokens in each row: int64 (B, T) on the device; beyond the end, the last."""
        return self._planned(T).slots_BT.clamp(max=self.max_length - 1).to(self.device)

    def mask(self, T: int) -> Tensor | None:
        """Which keys each new token sees: bool (B, 1, T, S); None where plain causal attention is the same.

        None means: rows empty (is_causal over T = S), or one new token and rows equally long (it sees all S).
        """
        plan = self._planned(T)
        shortest, longest = (int(length) for length in plan.slots_BT[:, 0].aminmax())
        if longest == 0 or (T == 1 and shortest == longest):
            return None
        keys_S = torch.arange(plan.n_seen)
        return (keys_S <= plan.slots_BT[:, None, :, None]).to(self.device)

    def update(self, layer: int, kv_2BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values behind each row's own; all that are in sight: (B, H, S, K) twice."""
        plan, kv_2RHSK = self._planned(kv_2BHTK.shape[3]), self._kv_L2RHSK[layer]
        kv_2RHSK.view(-1, kv_2RHSK.shape[-1]).index_copy_(
            0, plan.where, kv_2BHTK.to(kv_2RHSK.dtype).flatten(0, 3)
        )
        if self._first_row is None:
            k_BHSK, v_BHSK = kv_2RHSK[:, self._rows_B.to(self.device), :, : plan.n_seen]
        else:
            rows = slice(self._first_row, self._first_row + self.n_rows)
            k_BHSK, v_BHSK = kv_2RHSK[:, rows, :, : plan.n_seen].unbind()
        return k_BHSK, v_BHSK

    def _planned(self, T: int) -> "_Plan":
        """Made when the lengths have changed; the same for all layers."""
        if self._plan is None or (self._plan.change, self._plan.T) != (self._n_changes[0], T):
            _, _, R, H, S, _ = self._kv_L2RHSK.shape
            lengths_B = self.lengths_B
            slots_BT = (lengths_B[:, None] + torch.arange(T)).clamp_(max=self.max_length)
            n_seen = min(int(lengths_B.max()) + T, self.max_length)
            if self._heads_2BH11 is None:
                pairs_2B11 = (torch.arange(2)[:, None] * R + self._rows_B)[..., None, None]
                self._heads_2BH11 = (pairs_2B11 * H + torch.arange(H)[:, None]) * S
            where = (self._heads_2BH11 + slots_BT[:, None]).flatten().to(self.device)
            self._plan = _Plan(self._n_changes[0], T, slots_BT, n_seen, where)
        return self._plan

    def _chosen(self, rows: Sequence[int] | Tensor) -> Tensor:
        index = torch.as_tensor(rows, dtype=torch.int64).cpu()
        if bool(((index < 0) | (index >= len(self._rows_B))).any()):
            raise ConfigError(
                f"cache rows {index.tolist()}",
                f"rows from 0 to {len(self._rows_B) - 1}",
                code="generate.cache_rows",
            )
        return self._rows_B[index]
