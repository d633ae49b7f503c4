"""report.html: one file that needs no network, no script and no other file."""

from pathlib import Path

from neogpt.report import answers, facts, measures, plots, references, svg
from neogpt.report.answers import Question
from neogpt.report.facts import Score
from neogpt.report.markup import Markup, join, tag
from neogpt.report.references import Original
from neogpt.report.runs import Stage

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page may load and run nothing at all: what models wrote stays text even in a browser's eyes."""
ANSWER_CHARACTERS = 600


def page(title: str, stages: list[Stage], notes: list[str], original: Original | None = None) -> str:
    """The whole report as HTML; `original`: curves to compare with."""
    style = Path(__file__).with_name("style.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} – NeoGPT report"),
        tag("style", Markup(style)),
    )
    sections = [
        _scores(stages),
        _life(stages),
        _lesson(stages),
        _plots("Loss", plots.losses(stages, original)),
        _plots("Preferences", plots.preferences(stages)),
        _plots("Practice for a reward", plots.practice(stages)),
        _plots("HellaSwag", plots.hellaswag(stages, original)),
        _answers(stages),
        _training(stages),
        _commands(stages),
        _environment(stages),
        _notes(notes),
    ]
    body = tag("body", tag("main", _header(title, stages), sections), _footer())
    return "<!doctype html>\n" + tag("html", head, "\n", body, lang="en") + "\n"


def _section(heading: str, *children: object, class_: str | None = None) -> Markup:
    return join(["\n", tag("section", tag("h2", heading), *children, class_=class_)])


def _header(title: str, stages: list[Stage]) -> Markup:
    return tag(
        "header",
        tag("p", "NeoGPT report", class_="over"),
        tag("h1", title),
        tag("p", facts.verdict(stages), class_="verdict"),
    )


def _footer() -> Markup:
    text = "Every number on this page is a row of metrics.jsonl, events.jsonl or samples.jsonl."
    return tag("footer", tag("p", text, " Made by ", tag("code", "neogpt report"), "."))


def _stage_heads(stages: list[Stage]) -> list[Markup]:
    whole = {stage.label: stage.label.replace("-", "\N{NON-BREAKING HYPHEN}") for stage in stages}
    return [tag("th", _swatch(stage), whole[stage.label], scope="col") for stage in stages]


def _swatch(stage: Stage) -> Markup:
    return tag("span", class_=f"swatch {plots.colour(stage)}")


def _scores(stages: list[Stage]) -> Markup | None:
    groups = facts.scores(stages)
    if not groups:
        return None
    head = tag("thead", tag("tr", tag("td"), _stage_heads(stages)))
    bodies = [
        tag(
            "tbody",
            tag("tr", tag("th", group, colspan=1 + len(stages)), class_="group"),
            [_score(row, stages) for row in rows],
        )
        for group, rows in groups.items()
    ]
    key = tag("p", [_sign(c) or c for c in facts.KEY], class_="key")
    table = tag("table", head, bodies, class_="scores", style=f"--stages:{len(stages)}")
    return _section("What it can do", table, key)


def _score(row: Score, stages: list[Stage]) -> Markup:
    arrow = None
    if row.measure.better:
        sign, meaning = facts.ARROWS[row.measure.better], f"{row.measure.better} is better"
        arrow = tag("span", sign, class_="arrow", title=meaning, aria_label=meaning)
    text = references.explanation(stages, row.measure)
    why = tag("small", text) if text else None
    head = tag("th", tag("span", row.measure.label, " ", arrow, class_="name"), why, scope="row")
    cells = (_cell(row, value, error) for value, error in zip(row.values, row.errors, strict=True))
    return tag("tr", head, cells)


def _cell(row: Score, value: float | None, error: float | None) -> Markup:
    if value is None:
        return tag("td", tag("span", "–", class_="none", title="not measured"))
    figure = tag("data", row.text(value), value=repr(value))
    return tag(
        "td",
        tag("strong", figure) if row.is_best(value) else figure,
        _sign(row.sign(value)),
        tag("small", f"± {row.text(error)}", class_="error") if error is not None else None,
        tag("span", class_="bar", style=f"--share:{min(max(value, 0), 1):.4f}") if row.sign(value) else None,
        class_=facts.SIGNS.get(row.sign(value)),
    )


def _sign(character: str) -> Markup | None:
    """A full, half or empty disc, drawn by the style sheet (fonts differ too much in theirs)."""
    level = facts.SIGNS.get(character)
    return tag("span", class_=f"sign {level}", role="img", aria_label=level) if level else None


def _figure(plot: plots.Plot, room: int) -> Markup:
    chart = svg.line_chart(plot.lines, title=plot.heading, axis=plot.axis, form=plot.form, room=room)
    return tag("figure", tag("figcaption", tag("b", plot.heading)), chart)


def _plots(heading: str, found: list[plots.Plot]) -> Markup | None:
    if not found:
        return None
    told = dict.fromkeys((plot.topic, plot.explanation) for plot in found)
    lines = [tag("p", tag("b", topic), ". ", text) for topic, text in told]
    room = max(len(line.label) for plot in found for line in plot.lines)
    figures = [_figure(plot, room) for plot in found]
    return _section(heading, tag("div", figures, class_="grid2"), tag("div", lines, class_="why"))


def _life(stages: list[Stage]) -> Markup | None:
    found = plots.life(stages)
    if found is None:
        return None
    plot, bands = found
    drawn = [
        svg.line_chart(
            plot.lines,
            title=plot.heading,
            axis=plot.axis,
            form=plot.form,
            y=(0.0, 1.0),
            bands=bands,
            size=size,
            class_=name,
        )
        for size, name in (((920, 300), "wide"), ((440, 300), "narrow"))
    ]
    return _section("How it came about", tag("figure", drawn))


def _lesson(stages: list[Stage]) -> Markup | None:
    found = facts.lesson(stages)
    if found is None:
        return None
    lesson, twin, text = found
    shared = [score for rows in facts.scores([twin, lesson]).values() for score in rows]
    rows = [
        (f"{score.measure.label} {facts.ARROWS[score.measure.better]}", a, b)
        for score in shared
        for a, b in [score.values]
        if a is not None and b is not None and score.measure.better and score.measure.form == "share"
        if "refus" in score.key or score.key.endswith(("never_asked", "how_to"))
    ]
    colours = (plots.colour(twin), plots.colour(lesson))
    chart = svg.pair_chart(rows, (twin.label, lesson.label), colours, "Two ways to learn from preferences")
    bad, good = facts.over_refusal(lesson), facts.over_refusal(twin)
    figures = [
        tag(
            "p",
            tag("data", measures.said_share(v), value=repr(v)),
            tag("small", name),
            class_=f"big {plots.colour(s)}",
        )
        for v, name, s in (
            (bad, "wrongly refused, red-team pairs alone", lesson),
            (good, "with helpful pairs beside them", twin),
        )
        if v is not None
    ]
    words = tag("div", tag("p", text), tag("div", figures, class_="bigs"))
    return _section("What the original did", tag("div", words, tag("figure", chart), class_="beside"))


def _answers(stages: list[Stage]) -> Markup | None:
    by_eval = answers.by_eval(stages)
    if not by_eval:
        return None
    blocks = []
    for name, questions in by_eval.items():
        shown = questions[: answers.SHOWN]
        blocks += [tag("h3", name) if len(by_eval) > 1 else None, [_question(q, stages) for q in shown]]
        if len(questions) > len(shown):
            rest = f"{len(questions) - len(shown)} more questions stand in samples.jsonl."
            blocks.append(tag("p", rest, class_="key"))
    return _section("The same questions, stage by stage", blocks, class_="answers")


def _question(question: Question, stages: list[Stage]) -> Markup:
    kind = tag("span", question.kind, class_="kind") if question.kind else None
    cells = [
        tag(
            "div",
            tag("p", _swatch(stage), stage.label, class_="who"),
            tag("blockquote", answers.clipped(answer.text, ANSWER_CHARACTERS))
            if answer.text.strip()
            else tag("p", "(silence)", class_="none"),
            tag("p", answer.mark, class_=f"mark {answer.level}") if answer.verdict else None,
        )
        for stage, answer in zip(stages, question.answers, strict=True)
        if answer
    ]
    first, _, rest = question.text.partition("\n")
    context = tag("p", answers.clipped(rest, ANSWER_CHARACTERS), class_="context") if rest.strip() else None
    return tag("article", tag("h4", first, kind), context, tag("div", cells, class_="row"))


def _training(stages: list[Stage]) -> Markup:
    head = tag("thead", tag("tr", tag("td"), _stage_heads(stages)))
    rows = [
        tag("tr", tag("th", name, scope="row"), [tag("td", _figure_of(text, value)) for text, value in cells])
        for name, cells in facts.training(stages)
    ]
    table = tag("table", head, tag("tbody", rows), class_="training", style=f"--stages:{len(stages)}")
    return _section("How it was trained", table)


def _figure_of(text: str, value: float | None) -> Markup:
    return tag("span", text, class_="none") if value is None else tag("data", text, value=repr(value))


def _commands(stages: list[Stage]) -> Markup | None:
    typed = [(stage, command) for stage in stages for command in stage.commands]
    if not typed:
        return None
    blocks = [join([tag("p", _swatch(s), s.label, class_="who"), tag("pre", c)]) for s, c in typed]
    return _section("The exact commands", blocks, class_="commands")


def _environment(stages: list[Stage]) -> Markup | None:
    rows = facts.environment(stages)
    if not rows:
        return None
    return _section("Where it ran", tag("dl", [[tag("dt", k), tag("dd", v)] for k, v in rows]))


def _notes(notes: list[str]) -> Markup | None:
    return _section("Notes", tag("ul", [tag("li", note) for note in notes])) if notes else None
