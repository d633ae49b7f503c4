"""Rows of named columns to instructions and pairs, whatever the file's format."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from neogpt.data.sources import _layouts, _rows
from neogpt.data.sources._dialogue import from_messages, pair_of
from neogpt.records import Instruction, Pair, RowStats
from neogpt.tokenizer.template import Turn

Choose = Callable[[Sequence[str]], tuple[list[str], list[str]]]
"""The columns a file has -> those that are needed, and those that only say more."""


_SFT = ("instruction_column", "context_column", "response_column", "category_column", "messages_column")
_DPO = ("instruction_column", "context_column", "chosen_column", "rejected_column", "kind_column")


def instructions(
    rows: Iterable[_rows.SourceRow],
    columns: _rows.Columns,
    bad: RowStats,
    seen: dict[str, None] | None = None,
) -> Iterator[Instruction]:
    """Every row with a request and an answer, each once. `seen`: names of columns that rows lack since nobody asked.

    Errors: DataError (data.no_such_column) at the end.
    """
    seen = {} if seen is None else seen
    yield from _rows.distinct(_watched(rows, seen), partial(to_instruction, columns=columns), bad)
    _told(columns, _SFT, seen, bad)


def pairs(
    rows: Iterable[_rows.SourceRow],
    columns: _rows.Columns,
    bad: RowStats,
    seen: dict[str, None] | None = None,
) -> Iterator[Pair]:
    """Every row with a request and two different answers, each once. `seen`, errors: as above."""
    seen = {} if seen is None else seen
    yield from _rows.distinct(_watched(rows, seen), partial(to_pair, columns=columns), bad)
    _told(columns, _DPO, seen, bad)


def _watched(rows: Iterable[_rows.SourceRow], seen: dict[str, None]) -> Iterator[_rows.SourceRow]:
    """The same rows; the names of their columns are kept in `seen`, in their order."""
    for row in rows:
        seen.update(dict.fromkeys(row.values))
        yield row


def _told(columns: _rows.Columns, settings: Sequence[str], seen: dict[str, None], bad: RowStats) -> None:
    _layouts.check_named(columns, settings, seen)
    if seen:
        here = _layouts.resolved(columns, seen)
        bad.notes.append(_layouts.told([getattr(here, name) for name in settings], seen))


def to_instruction(values: Mapping[str, Any], columns: _rows.Columns) -> Instruction:
    """The request, its context, the answer and the category; or a conversation, whose last turn that is.

    TRL's form: the request and the answer may be messages each.
    """
    here = _layouts.resolved(columns, values)
    category = _rows.optional(values, here.category_column)
    system = _rows.optional(values, here.context_column)
    if _is_conversation(columns, here, values):
        return _of_turns(from_messages(values[here.messages_column], system), category)
    before, after = values.get(here.instruction_column), values.get(here.response_column)
    if isinstance(after, list):
        asked = before if isinstance(before, list) else [{"role": "user", "content": before}]
        return _of_turns(from_messages([*asked, *after], system), category)
    if here.response_column not in values and isinstance(before, list):
        return _of_turns(from_messages(before, system), category)
    return Instruction(
        _rows.needed(values, here.instruction_column),
        system,
        _rows.needed(values, here.response_column),
        category,
    )


def _is_conversation(columns: _rows.Columns, here: _rows.Columns, names: Collection[str]) -> bool:
    """Whether the conversation is read: where there is one, and no request under the name that the settings have. A
    `prompt` beside `messages` is its first message once more, as in UltraChat.
    """
    return here.messages_column in names and columns.instruction_column not in names


def _of_turns(turns: Sequence[Turn], category: str) -> Instruction:
    *history, last = turns
    return Instruction(*last[:3], category, tuple(history))


def to_pair(values: Mapping[str, Any], columns: _rows.Columns) -> Pair:
    """The request, its context, the two answers and the kind; or two conversations in OpenAI's form.

    TRL's forms: what conversations have in common may stand apart, as text or messages in the column of the request.
    """
    here = _layouts.resolved(columns, values)
    kind = _rows.optional(values, here.kind_column)
    system = _rows.optional(values, here.context_column)
    request = here.instruction_column
    if here.chosen_column not in values and "label" in values:
        raise _rows.MalformedRow(
            f"no column {here.chosen_column!r}: a row with a label is an unpaired preference (KTO); DPO compares two"
        )
    both = values.get(here.chosen_column), values.get(here.rejected_column)
    if isinstance(both[0], list) and isinstance(both[1], list):
        before = values.get(request)
        asked = [{"role": "user", "content": before}] if isinstance(before, str) and _begins(both[0]) else []
        common = before if isinstance(before, list) else asked
        return pair_of(from_messages(common + both[0], system), from_messages(common + both[1], system), kind)
    chosen, rejected = (
        _rows.needed(values, here.chosen_column),
        _rows.needed(values, here.rejected_column),
    )
    if chosen == rejected:
        raise _rows.FilteredRow("equal answers")
    return Pair(_rows.needed(values, request), system, chosen, rejected, kind)


def _begins(messages: Sequence[Any]) -> bool:
    """Whether messages begin with an answer, so that the request stands elsewhere."""
    first = messages[0] if messages else {}
    return isinstance(first, dict) and (first.get("role") or first.get("from")) in ("assistant", "gpt")


class Columns:
    """Which columns of a file are read; `seen` gathers the names of all that there are."""

    def __init__(self, choose: Choose) -> None:
        self._choose, self.seen = choose, dict[str, None]()

    def __call__(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        self.seen.update(dict.fromkeys(names))
        return self._choose(names)


def instruction_columns(columns: _rows.Columns) -> Columns:
    """The columns of a request and its answer, or where there is no request that of a conversation."""

    def choose(names: Sequence[str]) -> tuple[list[str], list[str]]:
        here = _layouts.resolved(columns, names)
        more = [here.context_column, here.category_column]
        if _is_conversation(columns, here, names):
            return [here.messages_column], more
        return [here.instruction_column, here.response_column], more

    return Columns(choose)


def pair_columns(columns: _rows.Columns) -> Columns:
    """The columns of a request and two answers (a conversation holds its own request)."""

    def choose(names: Sequence[str]) -> tuple[list[str], list[str]]:
        here = _layouts.resolved(columns, names)
        more = [here.instruction_column, here.context_column, here.kind_column]
        return [here.chosen_column, here.rejected_column], more

    return Columns(choose)


def only(wanted: Sequence[str], more: Sequence[str] = ()) -> Choose:
    """These columns, whatever there is."""
    return lambda names: (list(wanted), list(more))
