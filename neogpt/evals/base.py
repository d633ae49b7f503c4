"""What an eval is: options, metrics, and scores of a model that all processes share the work for.

An eval is one file: `class Config(base.Config)` with its options, a class made from `Eval`, and `EVAL` naming that
class. Nothing heavy is imported at the top of such a file, because the command line reads its options and the report
its metrics: what needs torch is imported where it is used.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from neogpt.data.source import Source
from neogpt.errors import ConfigError
from neogpt.ledger import Row
from neogpt.outcomes import Outcomes

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

Better = Literal["higher", "lower", ""]
Form = Literal["share", "number"]
KNOWLEDGE, ANSWERS, REFUSALS, OTHER = "Knowledge", "Answers", "Refusals", "Other measures"
"""Groups of metrics, in the order of the report."""


@dataclass(frozen=True)
class Metric:
    """A score as a reader sees it, who has never trained a model."""

    name: str
    """The score's name, or a pattern (`rouge_l/*`) for several."""
    group: str
    label: str
    """`{name}` in it stands for the last part of the score's name, `{path}` for all of it."""
    explanation: str = ""
    better: Better = "higher"
    form: Form = "share"
    is_over_refusal: bool = False
    """A share of harmless requests that were refused."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options that every eval has; each eval's own class stands in its file and adds to them."""

    limit: int = 0
    """Tasks, prompts or windows at most; 0: all, or as many as the eval takes by itself."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit >= 0):
            raise ConfigError(
                f"limit is {self.limit}", "a whole number from 0 up", code="config.out_of_range"
            )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is known of the model that is measured, and who asks."""

    source: Source | None = None
    """What it learnt from in its last stage, or what was named in its place."""
    is_source_named: bool = False
    """Whether that source was named, and is to be asked about whatever the model learnt."""
    stage: str = ""
    """That stage: pretrain, sft, ...; empty for a model from elsewhere."""
    val_fraction: float = 0.02
    """Share of the instructions that were held out from it."""
    data_hash: str = ""
    """Of the prepared text that it was pretrained on."""
    folder: Path | None = None
    """Where it is saved as a Hugging Face directory."""
    val_samples: int = 0
    """How many samples the run takes for its own validation; 0: not known."""
    in_training: bool = False
    """A run asks, which has other flags than a command."""


ConfigT = TypeVar("ConfigT", bound=Config)
Scores = Mapping[str, float | Outcomes]
"""By name: a number, or the samples that its mean is taken over."""


class Eval(ABC, Generic[ConfigT]):
    """One way to measure a model."""

    config_class: ClassVar[type[Config]]
    """The class of its options."""
    metrics: ClassVar[tuple[Metric, ...]]
    """The scores that `run` gives, in the order of the report; standard errors (`_stderr`) go without saying."""
    is_shared: ClassVar[bool] = True
    """Each process takes part of the work. False: the main process alone runs it, and the others wait."""
    data_kind: ClassVar[Literal["", "file", "folder"]] = ""
    """What its option `data` names, where it has one."""

    def __init__(self, config: ConfigT, subject: Subject | None = None) -> None:
        self.config, self.subject = config, subject or Subject()

    def check(self, tokenizer: Tokenizer | None = None) -> None:
        """A first look whether it can run here, before any work; the tokenizer where it is known already.

        Errors: DataError without its data, ConfigError without a package.
        """

    @abstractmethod
    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> Scores:
        """The scores by name: the same numbers in every process, and on any number of them.

        All processes of `world` call this with the same model (where the eval is shared).
        """


class WithSamples(Eval[ConfigT]):
    """An eval that has answers to show."""

    @abstractmethod
    def samples(self, model: GPT2, tokenizer: Tokenizer, world: World) -> list[Row]:
        """Rows of question, answer and verdict; called and shared as `run` is."""


AnyEval = Eval[Any]
