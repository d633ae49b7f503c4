"""What each curve of a report shows, in words for a reader who has never trained a model."""

LOSS_LINES = {
    "pretrain": "How surprised the model is by the next token of the text, in nats (e to this power is its "
    "perplexity). Lower is better. Validation is on text that it never trains on.",
    "sft": "How surprised the model is by the tokens of a good answer, given the question. Lower is better.",
    "dpo": "How far the model is from preferring the chosen answer, compared with the model it started from. "
    "It begins at log 2 = 0.693, no preference. Lower is better.",
    "rl": "Validation: how surprised the model is by good answers to requests that no reward is about; it should not "
    "rise. The training loss of learning by reward hovers around 0 and says little.",
}
RL: tuple[tuple[str, str], ...] = (
    (
        "reward",
        "The weighted sum of all rewards, over the answers of a step, and each reward. Higher is better.",
    ),
    (
        "reward_std",
        "How far the answers to one prompt lie apart, in the sum and in each reward. At 0 none is to be preferred.",
    ),
    (
        "kl",
        "Distance to the starting model, nats a token. It grows as something is learnt, and should stay small.",
    ),
    ("stop", "Answers that end by themselves, before the limit of their length."),
    ("answer_tokens", "Tokens an answer. A reward that is gamed often shows here first."),
    ("entropy", "How undecided the model is, nats a token. Near 0 it says the same thing always."),
    (
        "distinct_2",
        "Of all pairs of neighbors in the answers to one prompt, those that differ. Near 0 all say the same.",
    ),
    ("zero_variance", "Prompts all of whose answers earned the same: nothing is learnt from them."),
    ("clip_share", "Tokens held back by the clip; none where each answer is used for one update."),
)
"""What a step of learning by reward is watched by, and what it means."""
REWARD_LINE = (
    "How much more probable than before DPO the model finds each answer (in nats, times beta). "
    "The gap between the chosen and the rejected answer is the margin: it should open."
)
ACCURACY_LINE = (
    "Share of pairs in which the chosen answer's reward is the higher one. Half is chance; higher is better."
)
