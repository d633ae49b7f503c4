"""The same questions as every stage answered them."""

from dataclasses import dataclass

from neogpt.ledger import Row
from neogpt.report.runs import Stage, is_number

SHOWN = 24
"""Questions a report shows for each eval; the ledger has the rest."""
SIGNS = {"right": "✓", "wrong": "✗", "refused": "⊘", "degenerate": "≈"}
"""A sign for each verdict, so that it is told apart without color."""
LEVELS = {"right": "good", "wrong": "poor", "refused": "middling", "degenerate": "poor"}


@dataclass(frozen=True)
class Answer:
    """What one stage answered, and how the eval judged it."""

    text: str
    verdict: str
    kind: str
    """The question's kind, where the eval says one: a refusal is right when it begins with `harmful`."""

    @property
    def mark(self) -> str:
        """The verdict in words, with its sign: ✓ right, ⊘ wrongly refused, ..."""
        rightly = {"good": "rightly ", "poor": "wrongly "}.get(self.level, "") if self._is_refusal else ""
        return f"{SIGNS.get(self.verdict, '')} {rightly}{self.verdict}".strip()

    @property
    def level(self) -> str:
        """good, middling (nobody can say) or poor; empty for an unknown verdict."""
        if self._is_refusal and self.kind:
            return "good" if self.kind.startswith("harmful") else "poor"
        return LEVELS.get(self.verdict, "")

    @property
    def _is_refusal(self) -> bool:
        return self.verdict == "refused"


@dataclass(frozen=True)
class Question:
    """One question and each stage's answer to it (None: not asked there)."""

    text: str
    kind: str
    answers: list[Answer | None]


def by_eval(stages: list[Stage]) -> dict[str, list[Question]]:
    """Each eval's questions with the answers of each stage where it stands; those that most stages share first."""
    newest = [_standing_samples(stage) for stage in stages]
    asked = dict.fromkeys(key for rows in newest for key in rows)
    sorted_in: dict[str, list[Question]] = {}
    for name, text in asked:
        rows = [found.get((name, text)) for found in newest]
        kind = next((str(row["kind"]) for row in rows if row and row.get("kind")), "")
        sorted_in.setdefault(name, []).append(Question(text, kind, [_answer(row) for row in rows]))
    for questions in sorted_in.values():
        questions.sort(key=lambda q: -sum(a is not None for a in q.answers))
    return sorted_in


def _answer(row: Row | None) -> Answer | None:
    if row is None:
        return None
    return Answer(str(row.get("answer", "")), str(row.get("verdict") or ""), str(row.get("kind") or ""))


def clipped(text: str, most: int) -> str:
    """The beginning of a long text, saying how much is left out."""
    text = text.strip()
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def _standing_samples(stage: Stage) -> dict[tuple[str, str], Row]:
    """The rows of each eval's latest step up to the one that the stage stands for, by eval and question."""
    rows = [row for row in stage.samples if "question" in row and is_number(row.get("step"))]
    rows = [row for row in rows if row["step"] <= stage.stands_at]
    last: dict[str, float] = {}
    for row in rows:
        name = str(row.get("eval", ""))
        last[name] = max(last.get(name, 0), row["step"])
    return {
        (name, str(row["question"])): row
        for row in rows
        if row["step"] == last[name := str(row.get("eval", ""))]
    }
