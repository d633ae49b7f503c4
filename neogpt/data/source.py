"""What a data source is: a frozen dataclass whose instance holds its settings, and classes that say what it gives.

A file of `neogpt/data/sources/` defines one source. It inherits from each class below whose records it has, so that a
type checker knows what may be asked of it, and `isinstance` tells it apart from others at run time. `bad` is the
RowStats that counts rows which cannot be used.

This file is the one of `neogpt.data` that the configuration imports: it needs no more than names and errors.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from neogpt import plugins
from neogpt.errors import ConfigError

if TYPE_CHECKING:
    from neogpt.records import Document, Instruction, Pair, RowStats

PACKAGE = "neogpt.data.sources"
SourceT = TypeVar("SourceT", bound="Source")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Base of all sources. Its dataclass fields are what a user sets (`--source.NAME`)."""

    kind: ClassVar[str] = ""
    """The public name of the file that defines the source (`neogpt list sources`)."""
    gives: ClassVar[str] = ""
    """What a class of sources has, for messages."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.kind = plugins.public(cls.__module__.rpartition(".")[2])

    def parts(self) -> list[str]:
        """The independent pieces that it reads, in canonical order. A file is a path (see `input_files`)."""
        return []


class HasDocuments(Source, ABC):
    """Text to pretrain on."""

    gives = "documents"
    memorization: ClassVar[bool] = False
    """Whether the text is there to be read again and again."""

    @abstractmethod
    def documents(self, part: str, bad: "RowStats") -> "Iterator[Document]":
        """The texts of one of `parts`."""

    def whole_words(self) -> list[str]:
        """Words that a tokenizer trained on this text keeps as one token each."""
        return []

    def notes(self) -> list[str]:
        """What a reader of a run's first lines should know of how its files are read."""
        return []

    def expected(self) -> tuple[int, int] | None:
        """About how many GPT-2 tokens there are, and bytes to download; None where that is not known before."""
        return None

    def code(self) -> list[Path]:
        """The files whose code makes the text, where `parts` are no files: other code is other data."""
        return [Path(inspect.getfile(type(self)))]


class HasInstructions(Source, ABC):
    """Examples for SFT."""

    gives = "instructions"

    @abstractmethod
    def instructions(self, bad: "RowStats") -> "Iterator[Instruction]":
        """Requests with the answers to learn."""


class HasPairs(Source, ABC):
    """Preferences for DPO."""

    gives = "pairs"

    @abstractmethod
    def pairs(self, bad: "RowStats") -> "Iterator[Pair]":
        """Requests, each with a preferred and a rejected answer."""


class HasPrompts(Source, ABC):
    """RL prompts; where a source has none, its instructions are asked."""

    gives = "prompts"

    @abstractmethod
    def prompts(self, bad: "RowStats") -> "Iterator[Instruction]":
        """Requests to be answered for a reward."""


class ScoresAnswers(Source, ABC):
    """Knows which answers to its requests are right."""

    gives = "score for answers"

    @abstractmethod
    def score(self, prompt: "Instruction", text: str, stopped: bool) -> float:
        """How right the answer is, from 0 to 1; `stopped`: it came to its end."""


class Remote(HasDocuments):
    """Files that are fetched when they are needed and can be deleted afterwards."""

    gives = "files to fetch"

    @abstractmethod
    def resolved(self) -> Self:
        """The same source with nothing left that may mean something else tomorrow (a branch of a repository)."""

    @abstractmethod
    def published(self) -> list[dict[str, Any]]:
        """Name, size and sha256 of each file, known before it is here; empty where the files are local."""

    @abstractmethod
    def fetch(self, name: str) -> None:
        """Have a file here."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Delete a fetched file."""


def source_by_name(name: str) -> type[Source]:
    """The source that the file of that public name defines; ConfigError names the nearest where there is none."""
    module = plugins.get(PACKAGE, name)
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Source) and kind.__module__ == module.__name__
    ]
    (source,) = found
    return source


def sources_with(capability: type[SourceT]) -> list[str]:
    """The names of all sources that have this."""
    return [name for name in plugins.names(PACKAGE) if issubclass(source_by_name(name), capability)]


def need(source: Source, capability: type[SourceT], hint: str = "") -> SourceT:
    """The same source, of which it is now known that it has this; ConfigError where it has not."""
    if isinstance(source, capability):
        return source
    others = sources_with(capability)
    raise ConfigError(
        f"the source {source.kind} has no {capability.gives}",
        f"one of the sources {', '.join(others)}",
        hint or f"--source {'tinyworld' if 'tinyworld' in others else others[0]}",
        code="data.source_lacks",
    )


def chosen(default: Source, name: str) -> Source:
    """`default` where that is its name (or none is given), else the source of that name with its own defaults."""
    return default if name in ("", default.kind) else source_by_name(name)()


def select(default: Source, values: Mapping[str, Any], typed: str) -> tuple[Source, dict[str, Any]]:
    """The source that was typed, else the one of a file's dotted values, else `default`; and what is left to set.

    Where another was typed, the file's source settings give way with the file's source.
    """
    in_file = str(values.get("source.kind", ""))
    kept = not (typed and in_file) or in_file == typed
    left = {
        name: value
        for name, value in values.items()
        if name != "source.kind" and (kept or not name.startswith("source."))
    }
    return chosen(default, typed or in_file), left


def to_dict(source: Source) -> dict[str, Any]:
    """Its kind and its settings as plain values, for TOML and JSON."""
    return {"kind": source.kind, **{item.name: vars(source)[item.name] for item in fields(source)}}


def from_dict(values: Mapping[str, Any]) -> Source:
    """The source that `to_dict` wrote; ConfigError for a kind or a setting that is not there."""
    kind = source_by_name(str(values["kind"]))
    settings = {name: _tuple(value) for name, value in values.items() if name != "kind"}
    known = [item.name for item in fields(kind)]
    for name in settings:
        if name not in known:
            raise plugins.unknown("setting", name, known).within(f"the source {kind.kind}")
    return kind(**settings)


def _tuple(value: Any) -> Any:
    """Lists, as TOML and JSON have them, become the tuples that they were."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
