"""Talk with a model in the terminal: answers as they are made."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import tyro

from neogpt import atomic, plugins
from neogpt.cli import _models
from neogpt.cli._conversation import ALL_TURNS, Conversation
from neogpt.errors import ConfigError, NeoGPTError
from neogpt.inference.sampling_params import SamplingParams

if TYPE_CHECKING:
    from neogpt.inference.engine import Completion
    from neogpt.model_store import ModelFolder

_HELP = """/reset         forget the conversation
/system TEXT   background that goes with every question; without TEXT: none
/retry         another answer to the last question
/save FILE     write the conversation as JSON
/temp X        temperature: below 1 safer, above 1 wilder, 0: greedy
/help          this list
/quit          leave, as Ctrl-D does
Ctrl-C stops an answer. A line that begins with // is a question that begins with /."""


def run(args: list[str]) -> int:
    """`neogpt chat MODEL`."""
    tyro.cli(_chat, args=args, prog="neogpt chat", config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _chat(
    model: Annotated[str, tyro.conf.Positional],
    /,
    system: str = "",
    max_new_tokens: int = 256,
    temperature: float = 0.7,
    top_k: int = 0,
    top_p: float = 0.95,
    repetition_penalty: float = 1.0,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    max_history_turns: int | None = None,
    device: str = "auto",
) -> None:
    """Talk with a model in the terminal: answers as they are made.

    /help lists what can be typed beside questions. Without a terminal, each line of standard input is a question.

    examples: neogpt chat runs/demo/dpo
              neogpt chat runs/demo/sft --system "Kelom lives in Norvik." --temperature 0

    Args:
        model: run, checkpoint, Hugging Face directory or id.
        system: background that goes with every question.
        max_new_tokens: most tokens of an answer.
        temperature: below 1 safer, above 1 wilder; 0: greedy.
        top_k: draw only from this many of the most probable tokens; 0: from all.
        top_p: draw only from the most probable tokens whose probabilities first reach this sum.
        repetition_penalty: above 1, tokens that are already there become less likely.
        stop: strings that end an answer.
        seed: the same questions with the same seed get the same answers.
        max_history_turns: how many earlier turns the model sees with a question; default: none where NeoGPT trained it
            on single questions (sft, dpo), else all that fit.
        device: auto, cpu, cuda, cuda:0, mps, ...
    """
    sampling = SamplingParams(max_new_tokens, temperature, top_k, top_p, repetition_penalty, stop, seed)
    _models.use_utf8()
    engine, folder, warning = _models.load_engine(model, device)
    if warning:
        _models.notice(warning)
    if sys.stdin.isatty():
        _models.notice(
            f"{model}, {engine.model.n_params:,} parameters. /help lists what you can type; Ctrl-D leaves."
        )
    turns = _default_turns(folder) if max_history_turns is None else max_history_turns
    if turns < 0:
        raise ConfigError(f"--max-history-turns {turns}", "0 or more", code="config.out_of_range")
    Chat(Conversation(engine, sampling, system, turns), model).loop()


def _default_turns(folder: "ModelFolder") -> int:
    """None where this package fine-tuned on single questions: earlier turns would only confuse such a model."""
    return 0 if (folder / "trainer.json").is_file() else ALL_TURNS


class Chat:
    """The loop between a person and a `Conversation`: answers on stdout, everything else on stderr."""

    def __init__(self, conversation: Conversation, name: str = "") -> None:
        self.conversation, self.name = conversation, name
        self._asked: str | None = None
        self._is_kept = False
        self._has_said_dropped = False
        self._commands: dict[str, Callable[[str], None]] = {
            "reset": self._reset,
            "system": self._system,
            "retry": self._retry,
            "save": self._save,
            "temp": self._temperature,
            "help": lambda _: _models.notice(_HELP),
        }

    def loop(self) -> None:
        """Until /quit or the end of the input."""
        for line in _lines():
            if line.strip() in ("/quit", "/exit"):
                return
            try:
                self.handle(line)
            except NeoGPTError as error:
                _models.notice(str(error))
            except KeyboardInterrupt:
                _models.notice("(stopped)")

    def handle(self, line: str) -> None:
        """A question, or a command with its text."""
        line = line.strip()
        if line.startswith("/") and not line.startswith("//"):
            name, _, text = line[1:].partition(" ")
            if name not in self._commands:
                known = [f"/{command}" for command in (*self._commands, "quit")]
                raise plugins.unknown("command", f"/{name}", known)
            self._commands[name](text.strip())
        elif line:
            self._answer(line.removeprefix("/") if line.startswith("//") else line)

    def _answer(self, question: str) -> None:
        self._asked, self._is_kept = question, False
        pieces = self.conversation.ask(question)
        self._say_dropped()
        answer, completion = _show(pieces)
        if completion is None:
            _models.notice("(stopped)")
        elif completion.finish_reason == "length":
            _models.notice(f"(cut after {len(completion.tokens)} tokens: --max-new-tokens or the context)")
        if answer or completion:
            self.conversation.keep(question, answer)
            self._is_kept = True

    def _say_dropped(self) -> None:
        if self.conversation.n_dropped and not self._has_said_dropped:
            self._has_said_dropped = True
            n_positions = self.conversation.engine.model.config.n_positions
            _models.notice(
                f"(the context of {n_positions} tokens is full: the oldest turns are forgotten from now on)"
            )

    def _reset(self, _: str) -> None:
        self.conversation.reset()
        self._asked, self._has_said_dropped = None, False
        _models.notice("(forgotten)")

    def _system(self, text: str) -> None:
        self.conversation.system = text
        _models.notice("(background set)" if text else "(no background)")

    def _retry(self, _: str) -> None:
        if self._asked is None:
            _models.notice("(nothing was asked yet)")
            return
        if self._is_kept:
            self.conversation.take_back()
        self._answer(self._asked)

    def _save(self, text: str) -> None:
        if not text:
            _models.notice("/save FILE: a file is missing")
            return
        path = Path(text).expanduser()
        try:
            atomic.write_json(path, {"model": self.name, **self.conversation.record()})
        except OSError as error:
            _models.notice(f"{path} cannot be written: {error.strerror}")
        else:
            _models.notice(f"(saved to {path})")

    def _temperature(self, text: str) -> None:
        try:
            self.conversation.set_temperature(float(text))
        except ValueError:
            _models.notice(f"/temp X: a number, not {text!r}")
        else:
            _models.notice(f"(temperature {self.conversation.sampling.temperature:g})")


def _lines() -> Iterator[str]:
    """What the person types, line by line; Ctrl-C at the prompt only empties the line."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (start-up time; arrow keys and earlier lines in `input`)
    while True:
        try:
            yield input("> " if sys.stdout.isatty() else "")
        except KeyboardInterrupt:
            print(file=sys.stderr)
            _models.notice("(/quit or Ctrl-D leaves)")
        except EOFError:
            print(file=sys.stderr)
            return


def _show(pieces: "Generator[str, None, Completion]") -> "tuple[str, Completion | None]":
    """Print an answer as it comes; its text, and the completion unless Ctrl-C stopped it."""
    shown: list[str] = []
    completion = None
    with contextlib.suppress(KeyboardInterrupt), _interruptible() as is_interrupted:
        while not is_interrupted():
            try:
                shown.append(next(pieces))
            except StopIteration as end:
                completion = end.value
                break
            print(_models.printable(shown[-1], sys.stdout), end="", flush=True)
    print(flush=True)
    return "".join(shown), completion


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C only raises a flag, seen between two pieces; a second one interrupts."""
    interrupted = threading.Event()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    if threading.current_thread() is not threading.main_thread():
        yield interrupted.is_set
        return
    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
