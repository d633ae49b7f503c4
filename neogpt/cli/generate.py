"""Continue a text, or answer an instruction: any run, checkpoint or Hugging Face model."""

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from neogpt.cli import _models
from neogpt.errors import ConfigError, DataError
from neogpt.inference.sampling_params import SamplingParams

if TYPE_CHECKING:
    from neogpt.inference.engine import Engine


def run(args: list[str]) -> int:
    """`neogpt generate MODEL [PROMPT ...]`."""
    tyro.cli(_generate, args=args, prog="neogpt generate", config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _generate(
    model: Annotated[str, tyro.conf.Positional],
    prompts: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    prompt: tuple[str, ...] = (),
    prompt_file: Path | None = None,
    instruct: bool = False,
    context: str = "",
    max_new_tokens: int = 128,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    n: int = 1,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Continue a text, or answer an instruction: any run, checkpoint or Hugging Face model.

    Without a prompt, standard input is read as one. On a terminal the text appears as it is made.

    examples: neogpt generate runs/demo/pretrain "With a torch you can" --n 3
              neogpt generate runs/demo/dpo --instruct --prompt "List three facts about Kelom."

    Args:
        model: run, checkpoint, Hugging Face directory or id.
        prompts: texts to continue, or instructions.
        prompt: the same, as a flag.
        prompt_file: a file that is one more prompt.
        instruct: wrap each prompt in the template that `neogpt sft` teaches.
        context: background for the instruction (with --instruct).
        max_new_tokens: most tokens to add; the model's context may end a text earlier.
        temperature: below 1 safer, above 1 wilder; 0: greedy.
        top_k: draw only from this many of the most probable tokens; 0: from all.
        top_p: draw only from the most probable tokens whose probabilities first reach this sum.
        repetition_penalty: above 1, tokens that are already there become less likely.
        stop: strings that end a text.
        seed: equal seeds give equal texts.
        n: texts for each prompt.
        device: auto, cpu, cuda, cuda:0, mps, ...
        json: print JSON.
    """
    sampling = SamplingParams(max_new_tokens, temperature, top_k, top_p, repetition_penalty, stop, seed)
    if n < 1:
        raise ConfigError(f"n is {n}", "a whole number from 1 up", code="config.out_of_range")
    if context and not instruct:
        raise ConfigError(
            "a context goes with an instruction",
            "--instruct beside --context",
            code="cli.context_without_instruction",
        )
    _models.use_utf8()
    texts = [*prompts, *prompt, *_from_elsewhere(prompt_file, wanted=not (prompts or prompt))]
    engine, _, warning = _models.load_engine(model, device)
    if warning and instruct:
        _models.notice(warning)
    ids = [_encode(engine, text, instruct, context) for text in texts for _ in range(n)]
    texts = [text for text in texts for _ in range(n)]
    if json:
        print(json_format.dumps(_results(engine, texts, ids, sampling), indent=2))
    elif len(ids) == 1 and sys.stdout.isatty():
        _stream(engine, "" if instruct else texts[0], ids[0], sampling)
    else:
        _print_all(engine, texts, ids, sampling, instruct)


def _from_elsewhere(file: Path | None, wanted: bool) -> list[str]:
    """The prompt in a file, or on standard input when there is no other."""
    if file is not None:
        try:
            return [file.read_text(encoding="utf-8")]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{file} cannot be read: {error}", "a text file in UTF-8", code="cli.prompts_unreadable"
            ) from None
    if not wanted:
        return []
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError(
            "there is no prompt",
            "a prompt, a file, or text on standard input",
            'neogpt generate MODEL "Once upon a time"',
            code="cli.no_prompt",
        )
    return [sys.stdin.read()]


def _encode(engine: "Engine", text: str, instruct: bool, context: str) -> list[int]:
    from neogpt.tokenizer import template  # start-up time

    if instruct:
        return template.encode_prompt(engine.tokenizer, text, context)
    return [engine.tokenizer.eot_id, *engine.tokenizer.encode(text)]


def _results(
    engine: "Engine", texts: list[str], ids: list[list[int]], sampling: SamplingParams
) -> list[dict[str, Any]]:
    return [
        {
            "prompt": text,
            "text": completion.text,
            "tokens": completion.tokens,
            "finish_reason": completion.finish_reason,
            "log_prob": sum(completion.log_probs),
        }
        for text, completion in zip(texts, engine.complete(ids, sampling), strict=True)
    ]


def _stream(engine: "Engine", prompt: str, ids: list[int], sampling: SamplingParams) -> None:
    print(_models.printable(prompt, sys.stdout), end="", flush=True)
    for piece in engine.stream(ids, sampling):
        print(_models.printable(piece, sys.stdout), end="", flush=True)
    print()


def _print_all(
    engine: "Engine", texts: list[str], ids: list[list[int]], sampling: SamplingParams, instruct: bool
) -> None:
    for i, (text, completion) in enumerate(zip(texts, engine.complete(ids, sampling), strict=True)):
        if len(ids) > 1:
            gap = "\n" if i else ""
            print(f"{gap}--- {i + 1} of {len(ids)}" + (f": {text}" if instruct else ""))
        print(_models.printable(("" if instruct else text) + completion.text, sys.stdout))
