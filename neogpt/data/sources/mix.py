"""Several sources of instructions or preferences in one, each with a weight."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from neogpt import plugins
from neogpt.data.source import HasInstructions, HasPairs, Source, SourceT, need, source_by_name
from neogpt.errors import ConfigError, NeoGPTError
from neogpt.records import Instruction, Pair, RowStats

RecordT = TypeVar("RecordT", Instruction, Pair)
_FLAG = re.compile(r"--source\.([a-z-]+)(?: PATH| NAME)?")
_EXAMPLE = "--source.of dolly 'jsonl?path=more.jsonl&weight=0.5'"


@dataclass(frozen=True, kw_only=True)
class Mix(HasInstructions, HasPairs):
    """Any sources that yield instructions (sft) or pairs (dpo)."""

    of: tuple[str, ...] = ()
    """Each as NAME or NAME?setting=value&weight=2. A weight says how often an epoch sees each row (1): 2 is
    twice, 0.5 once for half of the rows, chosen by their hash. rows=600 in its place is the weight with which an
    epoch sees about 600, however many the source has."""

    def parts(self) -> list[str]:
        """The files of all sources."""
        return [file for part in _parts(self.of) for file in part.source.parts()]

    def instructions(self, bad: RowStats) -> Iterator[Instruction]:
        """The instructions of each source in turn; what another one has already is filtered and counted."""
        return _records(self.of, HasInstructions, lambda source, own: source.instructions(own), bad)

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """The pairs of each source in turn; what another one has already is filtered and counted."""
        return _records(self.of, HasPairs, lambda source, own: source.pairs(own), bad)


class Part(NamedTuple):
    """One source of a mix, and how much of it an epoch sees: each row by `weight`, or about `rows` where not 0."""

    text: str
    source: Source
    weight: float
    rows: int


def _records(
    of: Sequence[str],
    capability: type[SourceT],
    read: Callable[[SourceT, RowStats], Iterator[RecordT]],
    bad: RowStats,
) -> Iterator[RecordT]:
    elsewhere: set[Any] = set()
    for part in _parts(of):
        with _within(part.text):
            own = RowStats()
            found = list(read(need(part.source, capability, _EXAMPLE), own))
            own.check()
        bad.merge(own)
        items = _without(elsewhere, found, part.text, bad)
        whole = sum(item.weight for item in items)
        weight = part.rows / whole if part.rows and whole else part.weight
        yield from (dataclasses.replace(item, weight=item.weight * weight) for item in items)
        elsewhere.update(map(_content, items))


def _without(elsewhere: Collection[Any], items: Sequence[RecordT], text: str, bad: RowStats) -> list[RecordT]:
    """The records of one source without those that are `elsewhere`.

    A source is judged by its own rows before: neither do many good rows of others hide a broken file, nor do others'
    rows of no use count against its limits.
    """
    for number, item in enumerate(items, start=1):
        if _content(item) in elsewhere:
            bad.filtered(text, number, "also in another source of the mix")
    return [item for item in items if _content(item) not in elsewhere]


@contextlib.contextmanager
def _within(part: str) -> Iterator[None]:
    """Errors say which source of the mix they are about, and name its settings as a mix takes them."""
    try:
        yield
    except NeoGPTError as error:
        joint = "&" if "?" in part else "?"
        error.hint = _FLAG.sub(lambda flag: f"'{part}{joint}{flag[1]}=...'", error.hint)
        raise error.within(part) from None


def _content(item: Instruction | Pair) -> tuple[Any, ...]:
    """What a record says, whatever its source calls it and however it is spaced."""
    answers = (item.chosen, item.rejected) if isinstance(item, Pair) else (item.response,)
    return *(text.strip() for text in (item.instruction, item.context, *answers)), item.history


def _parts(of: Sequence[str]) -> list[Part]:
    if not of:
        raise ConfigError("the mix has no sources", "at least one", _EXAMPLE, code="data.empty_mix")
    return [_part(text) for text in of]


def _part(text: str) -> Part:
    """NAME?setting=value&weight=2; ConfigError for what does not exist or has the wrong type."""
    name, _, query = text.partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    weight, rows = _amount(text, settings)
    default = source_by_name(name)()
    known = [field.name for field in dataclasses.fields(default)]
    changes = {}
    for key, value in settings.items():
        field = key.replace("-", "_")
        if field not in known:
            raise plugins.unknown("setting", key, known).within(text)
        changes[field] = _value(text, key, value, getattr(default, field))
    return Part(text, dataclasses.replace(default, **changes), weight, rows)


def _amount(text: str, settings: dict[str, str]) -> tuple[float, int]:
    """A part's weight and rows (0: not said), which leave `settings`; ConfigError for both, or for what is none."""
    if {"weight", "rows"} <= settings.keys():
        raise ConfigError(
            f"{text}: weight and rows both say how much of it is seen",
            "one of them",
            code="data.mix_weight_and_rows",
        )
    weight = _value(text, "weight", settings.pop("weight", "1"), 1.0)
    if not 0 <= weight < 1e6:
        raise ConfigError(f"{text}: weight is {weight}", "a number from 0 up", code="config.out_of_range")
    if "rows" not in settings:
        return weight, 0
    rows = _value(text, "rows", settings.pop("rows"), 0)
    if rows < 1:
        raise ConfigError(f"{text}: rows is {rows}", "a whole number from 1 up", code="config.out_of_range")
    return weight, rows


def _value(text: str, key: str, value: str, default: Any) -> Any:
    """A setting's value in its default's type."""
    if isinstance(default, bool) or not isinstance(default, str | int | float):
        raise ConfigError(
            f"{text}: {key} cannot be set here", "a setting that is text or a number", code="data.mix_setting"
        )
    try:
        return type(default)(value)
    except ValueError:
        raise ConfigError(
            f"{text}: {key} is {value!r}", f"a {type(default).__name__}", code="data.mix_setting"
        ) from None
