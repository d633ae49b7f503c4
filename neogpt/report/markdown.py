"""report.md: the facts of report.html as Markdown, for a terminal, a diff or a repository."""

import re

from neogpt.report import answers, facts, plots, references
from neogpt.report.answers import Question
from neogpt.report.facts import ARROWS, Score
from neogpt.report.markup import printable
from neogpt.report.runs import Stage


def page(title: str, stages: list[Stage], notes: list[str], images: list[str]) -> str:
    """The whole report as Markdown; `images` are files that stand beside it."""
    parts = [
        f"# {plain(title)}",
        plain(facts.verdict(stages)),
        *_scores(stages),
        *_lesson(stages),
        *_curves(stages, images),
        *_answers(stages),
        *_training(stages),
        *_commands(stages),
        *_environment(stages),
        *_notes(notes),
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text on one line that Markdown and HTML take as it is."""
    line = " ".join(printable(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", line)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, [":--", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _heads(stages: list[Stage]) -> list[str]:
    return ["", *(plain(stage.label) for stage in stages)]


def _scores(stages: list[Stage]) -> list[str]:
    groups = facts.scores(stages)
    if not groups:
        return []
    rows = [_score(row) for found in groups.values() for row in found]
    told = [row.measure for found in groups.values() for row in found if row.measure.explanation]
    explained = "\n".join(f"- *{plain(m.label)}*: {plain(references.explanation(stages, m))}" for m in told)
    return ["## What it can do", _table(_heads(stages), rows), facts.KEY, *([explained] if told else [])]


def _score(row: Score) -> list[str]:
    arrow = ARROWS[row.measure.better]
    cells = [_cell(row, value, error) for value, error in zip(row.values, row.errors, strict=True)]
    return [f"{plain(row.measure.label)} {arrow}".strip(), *cells]


def _cell(row: Score, value: float | None, error: float | None) -> str:
    if value is None:
        return "–"
    figure = row.text(value) if error is None else f"{row.text(value)} ± {row.text(error)}"
    return f"{f'**{figure}**' if row.is_best(value) else figure} {row.sign(value)}".strip()


def _lesson(stages: list[Stage]) -> list[str]:
    found = facts.lesson(stages)
    return ["## What the original did", plain(found[2])] if found else []


def _curves(stages: list[Stage], images: list[str]) -> list[str]:
    told = dict.fromkeys((plot.topic, plot.explanation) for plot in plots.losses(stages))
    lines = [f"- *{plain(topic)}*: {plain(text)}" for topic, text in told]
    shown = [f"![{name.removesuffix('.png')}]({name})" for name in images]
    return ["## Loss", *shown, "\n".join(lines)] if lines else shown


def _answers(stages: list[Stage]) -> list[str]:
    found = answers.by_eval(stages)
    parts = ["## The same questions, stage by stage"] if found else []
    for name, questions in found.items():
        if len(found) > 1:
            parts.append(f"### {plain(name)}")
        parts += [_question(question, stages) for question in questions[: answers.SHOWN]]
    return parts


def _question(question: Question, stages: list[Stage]) -> str:
    kind = f" ({plain(question.kind)})" if question.kind else ""
    lines = [f"**{plain(question.text)}**{kind}", ""]
    for stage, answer in zip(stages, question.answers, strict=True):
        if answer:
            mark = f" [{plain(answer.mark)}]" if answer.verdict else ""
            lines.append(
                f"- {plain(stage.label)}: {plain(answers.clipped(answer.text, 300)) or '(silence)'}{mark}"
            )
    return "\n".join(lines)


def _training(stages: list[Stage]) -> list[str]:
    rows = [[name, *(text for text, _ in cells)] for name, cells in facts.training(stages)]
    return ["## How it was trained", _table(_heads(stages), rows)]


def _commands(stages: list[Stage]) -> list[str]:
    typed = [printable(command).replace("```", "` ` `") for stage in stages for command in stage.commands]
    return ["## The exact commands", "```sh\n" + "\n".join(typed) + "\n```"] if typed else []


def _environment(stages: list[Stage]) -> list[str]:
    rows = facts.environment(stages)
    return ["## Where it ran", "\n".join(f"- {plain(k)}: {plain(v)}" for k, v in rows)] if rows else []


def _notes(notes: list[str]) -> list[str]:
    return ["## Notes", "\n".join(f"- {plain(note)}" for note in notes)] if notes else []
