"""What the page says about its own figures: what each is, how far it goes, and whose method it is."""

from neogpt.report.markup import Markup, tag

HIGH_SCORE = 0.4
"""From here on a head is called after what it looks at."""

LEADS = {
    "next": "The likeliest next tokens of each model, and how it goes on when it always takes the likeliest.",
    "lens": (
        "The residual stream after each layer, read by the model's own final LayerNorm and head, as if it stopped "
        "there. Columns are tokens of the prompt; a cell is the likeliest next token, darker where it is surer, framed "
        "where it is already what the last layer says. The top row is the model's output."
    ),
    "attribution": (
        "The logit of the token at the end, as a sum: what each head (L2H3: layer 2, head 3), each MLP and the "
        "embeddings add to it directly. To the right: for it; to the left: against it."
    ),
    "gradient": (
        "How much the logit of that token leans on each token of the prompt (gradient times input): for it, or in the "
        "other colour against it, relative to the strongest."
    ),
    "looks": "The heads that add or take most, and where each of them looks while it does.",
    "maps": (
        "Rows are tokens that look, columns tokens that are looked at, from the top left; darker is more. "
        "A diagonal just below the main one is a head that looks at the token before."
    ),
    "scores": (
        "Mean attention on random tokens that repeat after periods drawn at random: to the token before, to earlier "
        "copies of the same token, and to what followed such a copy (induction)."
    ),
}

_TERMS = (
    (
        "Logit lens",
        "nostalgebraist 2020. Reads early layers by the last layer's ruler. They may hold the answer in a form that "
        "this ruler does not read: a token that is not seen may be there all the same.",
    ),
    (
        "Direct logit attribution",
        "Elhage et al. 2021. Exact: the parts sum to the logit, while the final LayerNorm's divisor is held. Direct "
        "effects only: a head that prepares the ground for a later one gets nothing for it.",
    ),
    (
        "Gradient × input",
        "Shrikumar et al. 2016. First order: what a small change would do, not what the model does without the word. "
        "Switch parts off (--ablate) to see that.",
    ),
    (
        "Attention",
        "Where a head takes its values from, not what it takes. A head may look somewhere for want of anything better "
        "(often the first token) and write next to nothing.",
    ),
    (
        "Induction head",
        "Olsson et al. 2022. Looks up what followed the same token before. Only scores at periods drawn at random tell "
        "it from a head that always looks so many tokens back.",
    ),
)


def terms() -> Markup:
    """The methods, with what they show and what they do not."""
    return tag("dl", [[tag("dt", name), tag("dd", text)] for name, text in _TERMS], class_="terms")
