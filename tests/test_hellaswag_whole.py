"""HellaSwag as published, every task: the predictions are those of scoring each ending alone."""

from pathlib import Path

import pytest
import torch
from hellaswag_tasks import random_model, trained_tokenizer
from test_hellaswag import one_by_one

from neogpt.evals import _hellaswag_scoring, _hellaswag_tasks


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("style", "every"), [("build-nanogpt", 1), ("lm-eval", 5)])
def test_predictions_are_those_of_one_by_one_scoring(
    real_data: Path, style: _hellaswag_tasks.Style, every: int
) -> None:
    """All 10,042 tasks in one style (a minute of one core), each fifth of them in the other."""
    tasks = _hellaswag_tasks.read(real_data / "hellaswag" / _hellaswag_tasks.NAME)
    assert len(tasks) == _hellaswag_tasks.N_TASKS
    tokenizer = trained_tokenizer(tasks[::10])
    model = random_model(tokenizer.vocab_size, 400, n_embd=16)
    items = _hellaswag_scoring.encoded(tokenizer, tasks[::every], style)
    with torch.inference_mode():
        expected = one_by_one(model, items)
    found = _hellaswag_scoring.predictions(model, items)
    assert [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b] == []
    assert {plain for plain, _ in found} == {normed for _, normed in found} == {0, 1, 2, 3}
