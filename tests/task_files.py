"""Small files of tasks in the columns that the published data sets have, and what lm-eval calls them."""

import json
import random
from pathlib import Path
from typing import Any

from hellaswag_tasks import words

Rows = list[dict[str, Any]]


def arc_easy(n: int) -> Rows:
    """Three to five answers, keys by letters or by numbers, as ARC has both."""
    dice, rows = random.Random(1), []
    for i in range(n):
        labels = list("ABCDE" if i % 3 else "12345")[: dice.randint(3, 5)]
        answers = [words(dice.randint(1, 5), 100 * i + j) for j in range(len(labels))]
        rows.append(
            {
                "id": f"Mercury_{i}",
                "question": f"{words(dice.randint(2, 20), i)}?",
                "choices": {"text": answers, "label": labels},
                "answerKey": dice.choice(labels),
            }
        )
    return rows


def piqa(n: int) -> Rows:
    """Two solutions; some alike, some goals with blanks at the end."""
    dice, rows = random.Random(2), []
    for i in range(n):
        goal, first = words(dice.randint(1, 8), i) + " " * (i % 3), words(dice.randint(1, 9), 7 * i)
        second = first if i % 11 == 0 else words(dice.randint(1, 9), 7 * i + 1)
        rows.append({"goal": goal, "sol1": first, "sol2": second, "label": dice.randint(0, 1)})
    return rows


def sciq(n: int) -> Rows:
    """A passage that may be missing, a question and four answers."""
    rows = []
    for i in range(n):
        support = "" if i % 4 == 0 else f" {words(10 + 5 * (i % 7), i)}."
        answers = {f"distractor{j}": words(1 + j % 2, 9 * i + j) for j in (1, 2, 3)}
        question = f"{words(6, 3 * i)}?"
        rows.append({"question": question, **answers, "correct_answer": words(2, 9 * i), "support": support})
    return rows


def lambada(n: int) -> Rows:
    """Passages; one with one word only, some with line breaks."""
    texts = [words(3 + 7 * (i % 9), i) + ("\n" if i % 5 == 0 else " ") + words(3, i + 1) for i in range(n)]
    return [{"text": text} for text in ["word", *texts[1:]]]


def blimp(n: int) -> Rows:
    """Pairs of two paradigms, which show one phenomenon each."""
    rows = []
    for i in range(n):
        uid, term = (("adjunct_island", "island_effects"), ("passive_1", "argument_structure"))[i * 2 // n]
        good, bad = (f"{words(3 + i % 4, 2 * i + j).capitalize()}." for j in (0, 1))
        rows.append(
            {
                "sentence_good": good,
                "sentence_bad": bad,
                "field": "syntax",
                "linguistics_term": term,
                "UID": uid,
                "simple_LM_method": True,
                "one_prefix_method": False,
                "two_prefix_method": False,
                "lexically_identical": True,
                "pair_id": i,
            }
        )
    return rows


ROWS = {"arc-easy": arc_easy, "piqa": piqa, "sciq": sciq, "lambada": lambada, "blimp": blimp}
JUDGES = {
    "arc-easy": ["arc_easy"],
    "piqa": ["piqa"],
    "sciq": ["sciq"],
    "lambada": ["lambada_openai"],
    "blimp": ["blimp_adjunct_island", "blimp_passive_1"],
}
"""lm-eval's names."""


def write(path: Path, rows: Rows) -> Path:
    """JSON lines, or Parquet by the name's end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def all_text(rows: Rows) -> list[str]:
    """Everything that a tokenizer should know."""
    return [json.dumps(row) for row in rows]
