"""What each metric means, in words for a reader who has never trained a model: the evals' own words, by name.

A metric that no eval declares still appears in every report, under its own name.
"""

import functools
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from neogpt import evals, plugins
from neogpt.evals.base import ANSWERS, KNOWLEDGE, OTHER, REFUSALS, Better, Form

REWARDED, GUARDRAILS = "What rewards ask for", "What no reward asks for"
GROUPS = (KNOWLEDGE, ANSWERS, REFUSALS, REWARDED, GUARDRAILS, OTHER)


@dataclass(frozen=True)
class Measure:
    """A metric as a reader sees it; a pattern may stand for several."""

    pattern: str
    group: str
    label: str
    explanation: str
    better: Better = "higher"
    form: Form = "share"
    is_over_refusal: bool = False


LEARNING = (
    Measure(
        "guardrail/stop",
        GUARDRAILS,
        "Stops by itself, other requests",
        "Greedy answers to requests that no reward is about, which end when they are done.",
    ),
    Measure(
        "guardrail/distinct_2",
        GUARDRAILS,
        "Different pairs of tokens",
        "Of all pairs of neighbors in those answers. A model that says one thing to everybody has few.",
    ),
    Measure(
        "guardrail/kl",
        GUARDRAILS,
        "Distance to the starting model",
        "Nats a token, in drawn answers to them: what learning by reward changed where it should change nothing.",
        "lower",
        "number",
    ),
    Measure("rl/reward", REWARDED, "Reward", "The sum of the rewards on held-out requests.", form="number"),
    Measure("rl/finished", REWARDED, "Finished", "Answers with an end of their own, drawn at temperature 1."),
    Measure("rl/format", REWARDED, "Form", "The form that the request asks for."),
    Measure("rl/repetition", REWARDED, "No repetition", "1 where no three tokens come twice.", form="number"),
    Measure("rl/correct", REWARDED, "Correct", "Every item true, none twice, as many as asked for."),
    Measure("rl/*", REWARDED, "{name}", "This reward's mean on held-out requests.", form="number"),
)
"""What reinforcement learning measures itself."""


@functools.cache
def catalogue() -> tuple[Measure, ...]:
    """The metrics of all evals, eval by eval as each lists them, and then those of reinforcement learning."""
    found = [
        Measure(
            f"{name.replace('-', '_')}/{m.name}",
            m.group,
            m.label,
            m.explanation,
            m.better,
            m.form,
            m.is_over_refusal,
        )
        for name in plugins.names(evals.PACKAGE)
        for m in evals.kind(name).metrics
    ]
    return (*found, *LEARNING)


STANDARD_ERRORS = ("_stderr", "_se")


def measure(key: str) -> Measure:
    """The measure for a ledger key such as `tinyworld/recall`; an unknown one is named by its key."""
    known = _known(key)
    if known is None:
        return Measure(key, OTHER, key.replace("/", ": ").replace("_", " "), "", better="", form="number")
    name = key.rpartition("/")[2].replace("_", " ").capitalize()
    path = key.partition("/")[2].replace("/", ": ").replace("_", " ")
    return replace(known, label=known.label.format(name=name, path=path))


def _known(key: str) -> Measure | None:
    by_name = {known.pattern: known for known in catalogue()}  # its own name comes before a pattern
    return by_name.get(key) or next((known for known in catalogue() if fnmatchcase(key, known.pattern)), None)


def rank(key: str) -> int:
    """Where a key stands in the catalogue; unknown ones come last."""
    known = _known(key)
    return catalogue().index(known) if known else len(catalogue())


def is_standard_error(key: str) -> bool:
    """True for the standard error of another metric (`hellaswag/acc_stderr`)."""
    return key.endswith(STANDARD_ERRORS)


def is_over_refusal(key: str) -> bool:
    """True for a share of harmless requests that were refused, whichever eval asked them."""
    return not is_standard_error(key) and measure(key).is_over_refusal


MINUS = "\N{MINUS SIGN}"
GAP = "\N{NO-BREAK SPACE}"


def share(value: float) -> str:
    """A share as a percentage: 0.974 -> 97.4%."""
    return f"{100 * value:.1f}%"


def said_share(value: float) -> str:
    """A share in a sentence: as `share`, without the decimal of a round one (100%)."""
    return share(value).replace(".0%", "%")


def number(value: float) -> str:
    """A number with the digits that matter: 3.2538 -> 3.254, 0.00061 -> 0.0006, 12345.6 -> 12,346, 250 -> 250."""
    size = abs(value) if abs(value) > 1e-12 else 0.0  # less is what rounding leaves of a trend at 0
    is_count = size >= 1000 or (size >= 10 and size == round(size))
    text = f"{size:,.0f}" if is_count else f"{size:.3f}" if size >= 0.01 or not size else f"{size:.1g}"
    return f"{MINUS}{text}" if value < 0 and size else text


def count(value: float) -> str:
    """A large count in short: 936448 -> 936k, 1_500_000 -> 1.50M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            digits = 2 if value < 9.995 * size else 1 if value < 99.95 * size else 0
            return f"{value / size:.{digits}f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """A duration in its two largest units, on one line: 147 -> 2 min 27 s."""
    if (whole := round(seconds)) < 1:
        return f"{seconds:.1f}{GAP}s"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(i for i, (value, _) in enumerate(parts) if value)
    return GAP.join(f"{value}{GAP}{unit}" for value, unit in parts[first : first + 2] if value)
