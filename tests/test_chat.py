"""`neogpt chat`: what it asks the model, its commands, and a person at a real terminal."""

import fcntl
import io
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from generation_models import byte_tokenizer, random_model, saved, scripted_model

from neogpt import model_store
from neogpt.cli._conversation import ALL_TURNS, Conversation
from neogpt.cli.chat import Chat, _default_turns
from neogpt.cli.main import main
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.tokenizer.template import Turn, encode_prompt

TOK = byte_tokenizer()
RANDOM = random_model(3, n_positions=256)
COLD = SamplingParams(max_new_tokens=8, temperature=1.0, top_k=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(RANDOM, tmp_path_factory.mktemp("model"))


def new_chat(n_positions: int = 256, sampling: SamplingParams = COLD, system: str = "") -> Chat:
    model = RANDOM if n_positions == 256 else random_model(3, n_positions)
    return Chat(Conversation(Engine(model, TOK), sampling, system), "a model")


def expected(number: int, question: str, system: str = "", turns: list[Turn] | None = None) -> str:
    """The answer to the conversation's question of that number, by the engine and the template alone."""
    prompt = encode_prompt(TOK, question, system, turns or [])
    return Engine(RANDOM, TOK).complete([prompt], COLD, [number])[0].text


def answers(chat: Chat, capsys: pytest.CaptureFixture[str], *lines: str) -> tuple[str, str]:
    """What appears on stdout and stderr for these lines."""
    for line in lines:
        chat.handle(line)
    shown = capsys.readouterr()
    return shown.out, shown.err


# What the model is asked


def test_each_question_goes_with_the_history_in_the_template(capsys: pytest.CaptureFixture[str]) -> None:
    chat = new_chat()
    first = expected(0, "the cat?")
    second = expected(1, "and the dog?", turns=[Turn("the cat?", "", first)])
    out, _ = answers(chat, capsys, "the cat?", "and the dog?")
    assert out == f"{first}\n{second}\n"
    assert chat.conversation.turns == [Turn("the cat?", "", first), Turn("and the dog?", "", second)]


@pytest.mark.parametrize("memory", [0, 1])
def test_memory_is_how_many_turns_the_model_sees(memory: int, capsys: pytest.CaptureFixture[str]) -> None:
    chat = new_chat()
    chat.conversation.max_history_turns = memory
    answers(chat, capsys, "the cat?", "and the dog?")
    seen = chat.conversation.turns[2 - memory :]
    third = expected(2, "and the mat?", turns=seen)
    out, err = answers(chat, capsys, "and the mat?")
    assert out == f"{third}\n"
    assert "forgotten" not in err
    assert len(chat.conversation.turns) == 3


def test_a_model_taught_single_questions_is_asked_single_questions(folder: str, tmp_path: Path) -> None:
    taught = tmp_path / "taught"
    shutil.copytree(folder, taught)
    (taught / "trainer.json").write_text('{"config": {"stage": "sft"}}')
    assert (_default_turns(model_store.resolve(taught)), _default_turns(model_store.resolve(folder))) == (
        0,
        ALL_TURNS,
    )


def test_system_text_is_the_context_of_the_newest_question_only(capsys: pytest.CaptureFixture[str]) -> None:
    first = expected(0, "one", "the mat")
    second = expected(1, "two", "the dog", [Turn("one", "", first)])
    third = expected(2, "three", "", [Turn("one", "", first), Turn("two", "", second)])
    out, err = answers(
        new_chat(system="the mat"), capsys, "one", "/system the dog", "two", "/system", "three"
    )
    assert out == f"{first}\n{second}\n{third}\n"
    assert "(background set)" in err
    assert "(no background)" in err


def test_retry_draws_anew_and_replaces_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    chat = new_chat()
    before = expected(0, "one")
    turns = [Turn("one", "", before)]
    old, new = expected(1, "two", turns=turns), expected(2, "two", turns=turns)
    assert old != new
    out, _ = answers(chat, capsys, "one", "two", "/retry")
    assert out == f"{before}\n{old}\n{new}\n"
    assert chat.conversation.turns == [*turns, Turn("two", "", new)]


def test_reset_forgets_and_temperature_zero_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    chat = new_chat()
    out, _ = answers(chat, capsys, "/temp 0", "one", "/reset", "one", "/retry")
    first, second, third = out.splitlines()
    assert first == second == third
    assert chat.conversation.sampling.temperature == 0
    assert len(chat.conversation.turns) == 1


def test_two_slashes_ask_a_question_that_begins_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    chat = new_chat()
    answers(chat, capsys, "//etc/hosts is what?", "  ")
    assert [turn.instruction for turn in chat.conversation.turns] == ["/etc/hosts is what?"]


def test_the_oldest_turns_make_room_and_it_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    chat = new_chat(n_positions=64, sampling=SamplingParams(max_new_tokens=20, temperature=1.0, top_k=20))
    _, err = answers(chat, capsys, *["the cat sat"] * 8)
    assert err.count("oldest turns are forgotten") == 1
    conversation = chat.conversation
    assert len(conversation.turns) == 8
    assert 0 < conversation.n_dropped <= 8
    kept = encode_prompt(TOK, "the cat sat", "", conversation.turns[conversation.n_dropped - 1 : -1])
    assert len(kept) > 64 - 16  # one turn more would not have left a quarter of the context for the answer
    answers(chat, capsys, "/reset", "the cat sat")
    assert conversation.n_dropped == 0


def test_taking_back_a_turn_that_no_longer_fits_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    chat = new_chat(n_positions=64, sampling=SamplingParams(max_new_tokens=40, temperature=1.0))
    answers(chat, capsys, "the cat", "the dog sat on the mat, the 😀 cat", *["/retry"] * 3)
    assert chat.conversation.turns[-1].instruction == "the dog sat on the mat, the 😀 cat"


# Commands


def test_save_writes_the_conversation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat, file = new_chat(system="the mat"), tmp_path / "chat.json"
    out, err = answers(chat, capsys, "the 😀 cat", f"/save {file}")
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["model"] == "a model"
    assert found["system"] == "the mat"
    assert found["turns"] == [{"instruction": "the 😀 cat", "response": out[:-1]}]
    assert found["sampling"]["top_k"] == 20
    assert str(file) in err
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_saved_is_said_and_the_chat_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.json"
    old.mkdir()
    _, err = answers(new_chat(), capsys, "/save", f"/save {tmp_path}/absent/chat.json", f"/save {old}")
    assert "a file is missing" in err
    assert "absent/chat.json cannot be written" in err
    assert list(tmp_path.iterdir()) == [old]


def run(folder: str, text: bytes, monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """The command with `text` piped into it."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="ascii"))
    return main(["chat", folder, *args])


def test_piped_questions_are_answered_on_stdout(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--max-new-tokens", "8", "--temperature", "1", "--top-k", "20", "--top-p", "1"]
    assert run(folder, "the 😀 cat?\n/quit\nnever asked\n".encode(), monkeypatch, *args) == 0
    shown = capsys.readouterr()
    assert shown.out == expected(0, "the 😀 cat?") + "\n"
    assert "never" not in shown.err


def test_mistakes_are_said_and_the_chat_goes_on(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["/rty", "/temp warm", "/temp nan", "/temp -1", "/retry", "/help", "x" * 2000, "the cat?"]
    assert (
        run(folder, "\n".join(lines).encode(), monkeypatch, "--max-new-tokens", "3", "--temperature", "0")
        == 0
    )
    shown = capsys.readouterr()
    for words in (
        "did you mean /retry",
        "not 'warm'",
        "temperature is nan",
        "temperature is -1",
        "/system TEXT",
    ):
        assert words in shown.err
    assert "nothing was asked yet" in shown.err
    assert "at most 255 tokens" in shown.err
    assert "cut after 3 tokens" in shown.err
    assert len(shown.out.strip()) > 0


def test_input_that_is_not_utf8_is_no_error(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = b"\xff\xfe the cat\n/save " + str(tmp_path / "chat.json").encode()
    assert run(folder, text, monkeypatch, "--max-new-tokens", "3") == 0
    assert (
        json.loads((tmp_path / "chat.json").read_text())["turns"][0]["instruction"] == "\ufffd\ufffd the cat"
    )


def test_wrong_settings_end_with_code_2(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", folder, "--top-p", "2"]) == 2
    assert "top_p is 2.0" in capsys.readouterr().err


def test_a_base_model_gets_one_line_of_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = saved(RANDOM, tmp_path)
    (tmp_path / "trainer.json").write_text('{"config": {"stage": "pretrain"}}')
    assert run(base, b"the cat?\nthe dog?\n", monkeypatch, "--max-new-tokens", "2") == 0
    assert capsys.readouterr().err.count("is a base model") == 1


# A person at a terminal

CHAT = (
    "import fcntl, os, sys, termios, time; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever began the tests\n"
    "from neogpt.tokenizer import StreamDecoder\n"
    "push, pause_s = StreamDecoder.push, float(os.environ.get('PAUSE_S', 0))\n"
    "StreamDecoder.push = lambda self, token: time.sleep(pause_s) or push(self, token)\n"
    "from neogpt.cli.main import main; sys.exit(main(['chat', *sys.argv[1:]]))"
)


class Person:
    """Types on a pseudo-terminal and reads what appears."""

    def __init__(self, *args: str, **environment: str) -> None:
        self.terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 1000, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHAT, *args],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb", **environment},
        )
        os.close(inside)
        self.screen = ""
        self._bytes = b""

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str, seconds: float = 150.0) -> str:
        """Everything up to and with `text`, which is then taken off the screen."""
        appeared = self._read_until(lambda: text in self.screen, seconds)
        assert appeared, f"{text!r} did not appear: {self.screen[-2000:]!r}"
        before, _, after = self.screen.partition(text)
        self.screen, self._bytes = after, after.encode()
        return before + text

    def _read_until(self, happens: Callable[[], bool], seconds: float) -> bool:
        """Read from the terminal; whether it happened in time."""
        deadline = time.monotonic() + seconds
        while not happens():
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return False
            self._bytes += os.read(self.terminal, 65536)
            self.screen = self._bytes.decode("utf-8", errors="ignore").replace("\r\n", "\n")
        return True

    def interrupt_until(self, text: str) -> None:
        """Ctrl-C, and after a key again when nothing comes.

        Ctrl-C empties the terminal's queue. Where readline was just told of a key in it, readline reads until the
        next one comes, and no signal ends that. On a slow machine the key may stay in the line after `text`.
        """
        for _ in range(50):
            self.type("\x03")
            if self._read_until(lambda: text in self.screen, 3):
                break
            keys = self.screen.count("x")
            self.type("x")
            self._read_until(lambda: text in self.screen or self.screen.count("x") > keys, 60)  # noqa: B023
        self.wait_for(text, 0)

    def leave(self) -> int:
        try:
            return self.process.wait(timeout=150)
        finally:
            self.process.kill()
            os.close(self.terminal)


def test_ctrl_c_stops_the_answer_and_ctrl_d_leaves(tmp_path: Path) -> None:
    """The model never ends its answer; both Ctrl-C come while it speaks."""
    words = TOK.encode("la 😀 ")
    endless = scripted_model((words * 4000)[:6000], TOK.vocab_size)
    settings = ("--max-new-tokens", "100000", "--temperature", "0")
    person = Person(
        saved(endless, tmp_path / "model"), *settings, PAUSE_S="0.02"
    )  # two minutes to its last word
    person.wait_for("Ctrl-D leaves.")
    for question in ("sing", "again"):
        person.wait_for("> ")
        person.type(f"{question}\n")
        person.wait_for("la 😀 la 😀 la 😀")
        person.type("\x03")
        person.wait_for("(stopped)")
        person.wait_for("> ")
        person.type(f"/save {tmp_path}/{question}.json\n")
        person.wait_for("(saved")
    person.wait_for("> ")
    person.type("half a line")
    person.wait_for("half a line")
    person.interrupt_until("(/quit or Ctrl-D leaves)")
    person.wait_for("> ")
    person.type("\x15\x04")  # nothing in the line, and its end
    assert person.leave() == 0
    [turn] = json.loads((tmp_path / "sing.json").read_text())["turns"]
    assert turn["instruction"] == "sing"
    assert "la 😀 la 😀 la 😀" in turn["response"]
    assert len(TOK.encode(turn["response"])) < 5900
    assert [t["instruction"] for t in json.loads((tmp_path / "again.json").read_text())["turns"]] == [
        "sing",
        "again",
    ]


def test_the_screen_shows_whole_characters_and_no_colour_when_not_wanted(tmp_path: Path) -> None:
    text = "日本 😀\x1b[31mred"
    said = TOK.encode(text)
    prompt = encode_prompt(TOK, "hi")
    script = [0] * (len(prompt) - 1) + said + [TOK.eot_id]
    model = saved(scripted_model(script + [0] * 40, TOK.vocab_size), tmp_path)
    person = Person(model, "--temperature", "0", TERM="xterm", NO_COLOR="1", LC_ALL="C")
    shown = person.wait_for("> ")
    assert "Ctrl-D leaves." in shown
    person.type("hi\n")
    shown += person.wait_for("red\n")
    person.type("/quit\n")
    assert person.leave() == 0
    assert "日本 😀␛[31mred" in shown
    assert "\x1b[2m" not in shown
    assert "\x1b[31m" not in shown
