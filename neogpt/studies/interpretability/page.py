"""inside.html: what one or several models do with one prompt, stage beside stage; one file, no script."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from neogpt.report import plots
from neogpt.report.document import POLICY, document
from neogpt.report.markup import Markup, join, tag
from neogpt.studies import subjects
from neogpt.studies.interpretability import guide
from neogpt.studies.interpretability.drawing import bar, grid, heat_map, shaded, words
from neogpt.studies.interpretability.look import Guesses, Look

PARTS_SHOWN = 12
HEADS_SHOWN = 4
NUMBERED_HEADS = 48
"""Up to so many heads, each score is also a number; beyond, it is a shade."""


def page(looks: Sequence[Look], asked: str, command: str) -> str:
    """The page as HTML; `asked`: the prompt as it was typed."""
    sections = [
        _section("What comes next", "next", _cards(looks)),
        _section("Layer by layer", "lens", [_lens(look) for look in looks]),
        _section("Which part says so", "attribution", _levers(looks)),
        _section("Which words matter", "gradient", [_gradient(look) for look in looks]),
        _section("Where the heads look from the last token", "looks", [_heads(look) for look in looks]),
        _section("Attention of every head", "maps", [_maps(look) for look in looks]),
        _section("What kind of head it is", "scores", [_scores(look) for look in looks if look.scores]),
        _section("The words used here", "", guide.terms()),
    ]
    css = Path(__file__).with_name("page.css").read_text()
    return document(
        "Inside – NeoGPT",
        tag("main", _header(looks, asked), sections),
        _footer(command),
        css=css,
        policy=f"{POLICY}; img-src data:",
    )


def _section(heading: str, key: str, *children: object) -> Markup | None:
    if not any(children):
        return None
    lead = tag("p", guide.LEADS[key], class_="lead") if key else None
    return join(["\n", tag("section", tag("h2", heading), lead, *children)])


def _header(looks: Sequence[Look], asked: str) -> Markup:
    first = looks[0]
    tokens = [tag("span", text, class_="token") for text in _texts(first, first.tokens)]
    target = tag("span", _text(first, first.target), class_="token asked")
    named = ", ".join(look.subject.label for look in looks)
    return tag(
        "header",
        tag("p", "NeoGPT · inside", class_="over"),
        tag("h1", asked if len(asked) <= 80 else f"{asked[:79]}…"),
        tag("p", tokens, " ", target, class_="prompt"),
        tag(
            "p",
            f"{len(first.tokens)} tokens through {named}; asked about the token at the end.",
            class_="key",
        ),
    )


def _footer(command: str) -> Markup:
    text = "The same numbers stand in inside.json. Made by "
    return tag("footer", tag("p", text, tag("code", command), "."))


def _colour(look: Look) -> str:
    if "red-team" in look.subject.label:
        return "lesson"
    return plots.COLORS.get(look.subject.stage, "other")


def _stage(look: Look, note: str = "") -> Markup:
    small = tag("small", note) if note else None
    swatch = tag("span", class_=f"swatch {_colour(look)}")
    return tag("h3", swatch, look.subject.label, small, class_="stage")


def _text(look: Look, token: int) -> str:
    return subjects.token_text(look.subject.tokenizer, token)


def _texts(look: Look, tokens: Sequence[int]) -> list[str]:
    return [_text(look, token) for token in tokens]


def _visible(text: str) -> str:
    """A token as a cell's text: its leading space is a dot, as nothing else tells it from its twin without."""
    return f"·{text[1:]}" if text.startswith(" ") else text


# What comes next


def _cards(looks: Sequence[Look]) -> Markup:
    return tag("div", [_card(look) for look in looks], class_="cards")


def _card(look: Look) -> Markup:
    parts = [_stage(look), _guesses(look, look.next)]
    if look.ablated:
        parts += [tag("small", "with those parts switched off:"), _guesses(look, look.ablated)]
    return tag("div", parts, class_=f"card {_colour(look)}")


def _guesses(look: Look, guesses: Guesses) -> Markup:
    lines = [
        tag(
            "li",
            tag("span", _visible(_text(look, token))),
            tag("span", class_="bar", style=f"--share:{prob:.4f}"),
            tag("data", f"{prob:.1%}", value=repr(prob)),
        )
        for token, prob in zip(guesses.ids, guesses.probs, strict=True)
    ]
    said = (
        tag("blockquote", guesses.answer.strip())
        if guesses.answer.strip()
        else tag("p", "(silence)", class_="none")
    )
    return join([tag("ol", lines), said])


# Lens


def _lens(look: Look) -> Markup:
    lens, n_shown = look.lens, look.lens.top_ids.shape[2]
    heads = [_visible(text) for text in _texts(look, look.tokens[-n_shown:])]
    rows: list[list[object]] = [["after", *heads, f"“{_text(look, look.target).strip()}”"]]
    for layer in reversed(range(len(lens.top_ids))):
        cells: list[object] = [_lens_cell(look, layer, column) for column in range(n_shown)]
        prob, rank = float(lens.target_probs[layer, 0, -1]), int(lens.target_ranks[layer, 0, -1])
        target = shaded(f"{prob:.1%} · rank {rank + 1}", prob)
        rows.append([f"layer {layer - 1}" if layer else "embedding", *cells, target])
    columns = f"5.2rem repeat({n_shown},minmax(4.4rem,1fr)) minmax(7.6rem,max-content)"
    return tag("div", _stage(look, _depth(look)), grid(rows, columns, "lens"), class_=_colour(look))


def _lens_cell(look: Look, layer: int, column: int) -> Markup:
    lens = look.lens
    ids, probs = lens.top_ids[layer, 0, column].tolist(), lens.top_probs[layer, 0, column].tolist()
    note = "\n".join(f"{_text(look, token)}  {prob:.1%}" for token, prob in zip(ids, probs, strict=True))
    is_final = ids[0] == int(lens.top_ids[-1, 0, column, 0])
    return shaded(_visible(_text(look, ids[0])), probs[0], note, "cell right" if is_final else "cell")


def _depth(look: Look) -> str:
    target, n_layer = _text(look, look.target).strip(), len(look.lens.top_ids) - 1
    if look.depth > n_layer:
        return f"“{target}” is never the likeliest"
    where = f"after layer {look.depth - 1}" if look.depth else "from the embedding"
    return f"“{target}” is the likeliest {where} and stays it"


# Attribution


def _levers(looks: Sequence[Look]) -> Markup:
    """The largest parts, in the model's order, one row each; what is left is one sum."""
    largest = {name: max(abs(look.attribution[name]) for look in looks) for name in looks[0].attribution}
    kept = set(sorted(largest, key=lambda name: -largest[name])[:PARTS_SHOWN])
    top = max(largest.values())
    rows: list[list[object]] = [["", *(_stage_head(look) for look in looks)]]
    for name in (name for name in largest if name in kept):
        rows.append([name, *(_lever(look, look.attribution[name], top) for look in looks)])
    if rest := [name for name in largest if name not in kept]:
        sums = [sum(look.attribution[name] for name in rest) for look in looks]
        rows.append(
            [f"{len(rest)} others", *(_lever(look, s, top) for look, s in zip(looks, sums, strict=True))]
        )
    totals = [tag("span", f"logit {look.logit:.2f}", class_="total") for look in looks]
    return grid([*rows, ["sum", *totals]], f"5.6rem repeat({len(looks)},minmax(9rem,1fr))", "levers")


def _stage_head(look: Look) -> Markup:
    return tag("span", tag("span", class_=f"swatch {_colour(look)}"), look.subject.label)


def _lever(look: Look, value: float, top: float) -> Markup:
    return tag("div", bar(value, top), class_=_colour(look))


# Words


def _gradient(look: Look) -> Markup:
    top = max(map(abs, look.gradient)) or 1.0
    line = words(
        _texts(look, look.tokens),
        [g / top * 0.8 for g in look.gradient],
        [f"{g:+.3f}" for g in look.gradient],
    )
    return tag("div", _stage(look), line, class_=_colour(look))


def _heads(look: Look) -> Markup:
    heads = [name for name in look.attribution if "H" in name]
    best = sorted(heads, key=lambda name: -abs(look.attribution[name]))[:HEADS_SHOWN]
    lines: list[object] = []
    for name in best:
        p = look.attention_of(name)
        adds = f"{look.attribution[name]:+.2f}".replace("-", "\N{MINUS SIGN}")
        lines.append(tag("span", name, tag("small", f"adds {adds}")))
        lines.append(words(_texts(look, look.tokens), [0.85 * v for v in p], [f"{v:.1%}" for v in p]))
    return tag("div", _stage(look), tag("div", lines, class_="who4"), class_=_colour(look))


# Heads


def _maps(look: Look) -> Markup:
    n_layer, n_head, shown, _ = look.maps.shape
    figures = [
        tag(
            "figure",
            heat_map(look.maps[i, j].float().numpy(), f"attention of L{i}H{j}"),
            tag("figcaption", f"L{i}H{j}", tag("b", _kind(look, i, j))),
        )
        for i in range(n_layer)
        for j in range(n_head)
    ]
    note = f"the last {shown} tokens" if shown < len(look.tokens) else ""
    maps = tag("div", figures, class_="maps", style=f"--heads:{n_head}")
    return tag("div", _stage(look, note), tag("div", maps, class_="scroll"))


KINDS: tuple[tuple[str, str], ...] = (
    ("previous", "previous token"),
    ("duplicate", "same token before"),
    ("induction", "induction"),
)


def _kind(look: Look, layer: int, head: int) -> str:
    """The highest of the head's scores, where one is high."""
    if look.scores is None:
        return ""
    found = {name: float(getattr(look.scores, key)[layer, head]) for key, name in KINDS}
    best = max(found, key=lambda name: found[name])
    return f"{best} {found[best]:.2f}" if found[best] >= guide.HIGH_SCORE else ""


def _scores(look: Look) -> Markup:
    assert look.scores is not None
    tables = [tag("div", tag("h4", name), _score_table(getattr(look.scores, key))) for key, name in KINDS]
    return tag("div", _stage(look), tag("div", tables, class_="triple"), class_=_colour(look))


def _score_table(scores_LH: torch.Tensor) -> Markup:
    n_layer, n_head = scores_LH.shape
    text: Callable[[float], str] = "{:.2f}".format if n_layer * n_head <= NUMBERED_HEADS else lambda _: " "
    values = np.asarray(scores_LH.cpu(), dtype=np.float32)
    rows: list[list[object]] = [["", *(f"H{j}" for j in range(n_head))]]
    for i in range(n_layer):
        cells = [shaded(text(v), v, f"L{i}H{j} {v:.3f}") for j, v in enumerate(map(float, values[i]))]
        rows.append([f"L{i}", *cells])
    return grid(rows, f"2.2rem repeat({n_head},minmax(1.4rem,1fr))", "scores3")
