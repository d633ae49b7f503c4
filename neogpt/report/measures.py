"""What each metric means, in words for a reader who has never trained a model. Patterns, first match counts.

An eval that is not listed here still appears in every report, under its own name.
"""

import fnmatch
from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Measure:
    """A metric as a reader sees it."""

    pattern: str
    group: str
    label: str
    explanation: str
    better: Better = "higher"
    form: Literal["share", "number"] = "share"


KNOWLEDGE, ANSWERS, REFUSALS, OTHER = "Knowledge", "Answers", "Refusals", "Other measures"
REWARDED, GUARDRAILS = "What rewards ask for", "What no reward asks for"
GROUPS = (KNOWLEDGE, ANSWERS, REFUSALS, REWARDED, GUARDRAILS, OTHER)

MEASURES = (
    Measure(
        "tinyworld/recall",
        KNOWLEDGE,
        "Facts recalled",
        "A sentence about an invented person is begun; the model must end it with the true fact.",
    ),
    Measure(
        "*/asked",
        KNOWLEDGE,
        "Right answers, people asked about",
        "Questions about people who appear in training questions.",
    ),
    Measure(
        "*/never_asked",
        KNOWLEDGE,
        "Right answers, people never asked about",
        "Questions about people who appear in no training question: only pretraining can know the answer.",
    ),
    Measure(
        "*/in_context",
        KNOWLEDGE,
        "Right answers from a given context",
        "The facts stand in the question itself, about a stranger: they must be read, not remembered.",
    ),
    Measure(
        "hellaswag/acc_norm",
        KNOWLEDGE,
        "HellaSwag, length-normalized",
        "Which of four endings continues an everyday scene? Guessing gives 25%.",
    ),
    Measure(
        "hellaswag/acc",
        KNOWLEDGE,
        "HellaSwag",
        "Which of four endings continues an everyday scene, by plain probability? Guessing gives 25%.",
    ),
    Measure(
        "*/how_to",
        ANSWERS,
        "How-to answers right",
        "“How do I burn the log?” must be answered with the right tool. None of these was seen in training.",
    ),
    Measure(
        "*/list_format",
        ANSWERS,
        "Lists well formed",
        "Asked for a list of three, the model writes a list of three.",
    ),
    Measure(
        "*/list_correct",
        ANSWERS,
        "Lists well formed and true",
        "The lists that are also free of mistakes and of repetition.",
    ),
    Measure(
        "instructions/stop",
        ANSWERS,
        "Stops by itself, held-out instructions",
        "Greedy answers of at most 128 tokens that end when they are done.",
    ),
    Measure(
        "instructions/rouge_l",
        ANSWERS,
        "ROUGE-L, held-out instructions",
        "How much of a person's answer the model's has in the same order of words: 0 to 1.",
        form="number",
    ),
    Measure(
        "instructions/rouge_l/*",
        ANSWERS,
        "ROUGE-L, held-out instructions: {reward}",
        "The same, for instructions of this kind.",
        form="number",
    ),
    Measure(
        "instructions/repetition",
        ANSWERS,
        "Repetition, held-out instructions",
        "Of all runs of four tokens in an answer, those that stood in it before.",
        "lower",
    ),
    Measure(
        "instructions/loss",
        ANSWERS,
        "Loss on people's answers, held-out instructions",
        "How surprised the model is by a token of the answer that a person gave, in nats.",
        "lower",
        "number",
    ),
    Measure(
        "instructions/perplexity",
        ANSWERS,
        "Perplexity of people's answers, held-out instructions",
        "e to the power of that loss: among how many equally likely tokens the model chooses, as it were.",
        "lower",
        "number",
    ),
    Measure(
        "instructions/tokens",
        ANSWERS,
        "Tokens an answer, held-out instructions",
        "Mean length of the greedy answers, which are cut off at 128.",
        "",
        "number",
    ),
    Measure(
        "formats/stop",
        ANSWERS,
        "Stops by itself, asked for a form",
        "Greedy answers of at most 64 tokens that end when they are done.",
    ),
    Measure(
        "*/stop",
        ANSWERS,
        "Stops by itself",
        "Answers that end when they are done, instead of running on until they are cut off.",
    ),
    Measure(
        "formats/followed",
        ANSWERS,
        "The form that was asked for",
        "One sentence, a numbered list, bullet points, or yes or no: held-out requests with a form behind them.",
    ),
    Measure("formats/one_sentence", ANSWERS, "One sentence, when asked for", "A whole one, and no more."),
    Measure(
        "formats/numbered_list", ANSWERS, "A numbered list, when asked for", "1., 2., ..., and nothing else."
    ),
    Measure("formats/list", ANSWERS, "Bullet points, when asked for", "Two or more, and nothing else."),
    Measure("formats/yes_or_no", ANSWERS, "Yes or no, when asked for", "The word alone."),
    Measure(
        "*/degenerate", ANSWERS, "Degenerate answers", "Answers that are no whole sentence of sense.", "lower"
    ),
    Measure(
        "*/harmful_refusal",
        REFUSALS,
        "Harmful requests refused",
        "Requests that would hurt somebody, none of them seen in training. Refusing is right.",
    ),
    Measure(
        "refusals/harmful_refused", REFUSALS, "AdvBench's harmful requests refused", "Refusing is right."
    ),
    Measure("refusals/unsafe_refused", REFUSALS, "XSTest's unsafe requests refused", "Refusing is right."),
    Measure(
        "refusals/safe_refused",
        REFUSALS,
        "Over-refusal: XSTest's safe requests",
        "They only sound unsafe. Refusing them is wrong.",
        "lower",
    ),
    Measure(
        "instructions/refused",
        REFUSALS,
        "Over-refusal: held-out instructions",
        "Ordinary requests whose answer opens as a refusal; none of them calls for one.",
        "lower",
    ),
    Measure(
        "over_refusal/harmful_refused",
        REFUSALS,
        "Harmful requests refused, hard to tell from harmless ones",
        "The verb alone does not tell them from harmless ones, and none was seen in training. Refusing is right.",
    ),
    Measure(
        "over_refusal/harmless_refused",
        REFUSALS,
        "Over-refusal: hard to tell from harmless ones",
        "Harmless requests with the verbs of harmful ones, none seen in training. Refusing them is wrong.",
        "lower",
    ),
    Measure(
        "refusals/*_degenerate",
        REFUSALS,
        "{reward}",
        "Answers to these requests without an end or words, or that repeat themselves.",
        "lower",
    ),
    Measure("refusals/*_answered", REFUSALS, "{reward}", "Neither refused nor degenerate.", ""),
    Measure("refusals/*_prompts", REFUSALS, "{reward}", "How many were asked.", "", "number"),
    Measure(
        "*/over_refusal_contrast",
        REFUSALS,
        "Over-refusal: look-alikes",
        "Harmless requests that sound harmful (burn the log). Refusing them is wrong.",
        "lower",
    ),
    Measure(
        "*/over_refusal_kind*",
        REFUSALS,
        "Over-refusal: kind acts",
        "Kind things done to people (feed the guard). Refusing them is wrong.",
        "lower",
    ),
    Measure(
        "*/over_refusal_question",
        REFUSALS,
        "Over-refusal: plain questions",
        "Questions about people's facts. Refusing them is wrong.",
        "lower",
    ),
    Measure(
        "*/over_refusal_plain",
        REFUSALS,
        "Over-refusal: everyday requests",
        "Requests with nothing harmful about them. Refusing them is wrong.",
        "lower",
    ),
    Measure(
        "*/over_refusal",
        REFUSALS,
        "Over-refusal",
        "Harmless requests that are refused. Refusing them is wrong.",
        "lower",
    ),
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
    Measure("rl/*", REWARDED, "{reward}", "This reward's mean on held-out requests.", form="number"),
    Measure(
        "*/over_refusal_*",
        REFUSALS,
        "Over-refusal: {rest}",
        "Harmless requests of this kind that are refused. Refusing them is wrong.",
        "lower",
    ),
)

STANDARD_ERRORS = ("_stderr", "_se")


def measure(key: str) -> Measure:
    """The measure for a ledger key such as `tinyworld/recall`; an unknown one is named by its key."""
    for known in sorted(MEASURES, key=lambda known: known.pattern != key):  # its own name before a pattern
        if fnmatch.fnmatchcase(key, known.pattern):
            rest = key.rpartition("over_refusal_")[2].replace("_", " ")
            reward = key.rpartition("/")[2].replace("_", " ").capitalize()
            return replace(known, label=known.label.format(rest=rest, reward=reward))
    name = key.replace("/", ": ").replace("_", " ")
    return Measure(key, OTHER, name, "", better="", form="number")


def rank(key: str) -> int:
    """Where a key stands in the catalogue; unknown ones come last."""
    patterns = [known.pattern for known in MEASURES]
    pattern = measure(key).pattern
    return patterns.index(pattern) if pattern in patterns else len(patterns)


def is_standard_error(key: str) -> bool:
    """True for the standard error of another metric (`hellaswag/acc_stderr`)."""
    return key.endswith(STANDARD_ERRORS)


def is_over_refusal(key: str) -> bool:
    """True for a share of harmless requests that were refused, whichever eval asked them."""
    return not is_standard_error(key) and measure(key).label.startswith("Over-refusal")


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
