"""What the commands that let a model speak share: loading it, and text that is safe on a terminal."""

import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from neogpt.inference.engine import Engine
    from neogpt.model_store import ModelFolder

_CONTROL = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
_CONTROL |= dict.fromkeys(range(128, 160), 65533)


class Loaded(NamedTuple):
    """An engine, the folder that its model was read from, and a warning to show when it was not taught to chat."""

    engine: "Engine"
    folder: "ModelFolder"
    warning: str


def load_engine(name: str, device: str) -> Loaded:
    """The engine for the model that `name` means."""
    from neogpt import model_store  # start-up time
    from neogpt.inference.engine import Engine
    from neogpt.train.device import pick_device

    folder = model_store.resolve(name)
    model = model_store.load_model(folder).to(pick_device(device))
    warning = (
        ""
        if _knows_template(folder)
        else (
            f"{name} is a base model: it continues text and was not taught to answer (`neogpt sft` teaches it)"
        )
    )
    return Loaded(Engine(model, model_store.load_tokenizer(folder)), folder, warning)


def _knows_template(folder: os.PathLike[str]) -> bool:
    """True unless the checkpoint is of pretraining, or comes from elsewhere and has no chat template."""
    trainer = _read_json(os.path.join(folder, "trainer.json"))
    if trainer:
        config = trainer.get("config")
        return not isinstance(config, dict) or config.get("stage") != "pretrain"
    return bool(_read_json(os.path.join(folder, "tokenizer_config.json")).get("chat_template"))


def _read_json(path: str) -> dict[str, object]:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def use_utf8() -> None:
    """Read and write UTF-8 whatever the locale; what is not UTF-8 becomes U+FFFD, never an error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def printable(text: str, stream: TextIO) -> str:
    """On a terminal, control characters as pictures: a model must not move the cursor or rename the window."""
    return text.translate(_CONTROL) if stream.isatty() else text


def notice(text: str) -> None:
    """A line beside the answers: dim on a terminal, on stderr so that answers can be piped."""
    dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    print(f"\x1b[2m{text}\x1b[0m" if dim else text, file=sys.stderr, flush=True)
