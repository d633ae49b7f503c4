"""Dialogues in other people's forms as turns of the one template."""

import json
import re
from collections.abc import Sequence
from typing import Any

from neogpt.data.sources._rows import BLANK, FilteredRow, MalformedRow
from neogpt.records import Pair
from neogpt.tokenizer.template import Turn

_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
}  # fmt: skip
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def from_messages(messages: Any, system: str = "") -> tuple[Turn, ...]:
    """OpenAI's form: a list of {"role": system | user | assistant, "content": text}, or the same as JSON text.

    ShareGPT's names ({"from": human | gpt, "value": text}), the role developer and contents in parts are read as well.
    System messages, and `system` before the first, are the context of the user message after them, several joined by
    a blank line; messages of one speaker in a row are joined likewise. An answer with "weight": 0 is not learned.

    Errors: MalformedRow for another form or order, FilteredRow where no message is answered, an answer is blank, none
    is to be learned, or tools are called. Left out are what follows the last answer, a last answer of weight 0, and a
    greeting before the first message of the user.
    """
    turns: list[Turn] = []
    context = [system] if system.strip() else []
    asked: list[str] = []
    for message in _listed(messages):
        role, text = _role(message), _content(message)
        if role == "system" and not asked:
            context.append(text)
        elif role == "user":
            asked.append(text)
        elif role == "assistant" and asked:
            turns.append(Turn(_joined(asked), _joined(context), text, message.get("weight") != 0))
            context, asked = [], []
        elif role == "assistant" and turns and not context:
            last = turns[-1]
            both = last.learned and message.get("weight") != 0
            turns[-1] = last._replace(response=_joined([last.response, text]), learned=both)
        elif role == "assistant" and not turns:
            continue  # a greeting that nobody asked for, as some dumps begin
        else:
            raise MalformedRow(
                f"messages: {role} out of turn; they go system (optional), user, assistant, ..."
            )
    while turns and not turns[-1].learned:
        turns.pop()
    return _answered(turns)


def _joined(texts: list[str]) -> str:
    return "\n\n".join(texts)


def _listed(messages: Any) -> Sequence[Any]:
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError):
            raise MalformedRow("messages: text that is not JSON") from None
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise MalformedRow(f"messages: {type(messages).__name__}, not a list")
    return messages


def from_hh(text: str) -> tuple[Turn, ...]:
    """The form of Anthropic's hh-rlhf: "\\n\\nHuman: ...\\n\\nAssistant: ..." and so on; errors as above."""
    start, *pieces = _SPEAKER.split(text)
    speakers, texts = pieces[::2], [piece.strip() for piece in pieces[1::2]]
    if start.strip() or not speakers:
        raise MalformedRow('a dialogue that does not begin with "\\n\\nHuman:"')
    if any(speaker != ("Human", "Assistant")[i % 2] for i, speaker in enumerate(speakers)):
        raise FilteredRow("speakers do not take turns")
    return _answered([Turn(asked, "", said) for asked, said in zip(texts[::2], texts[1::2], strict=False)])


def pair_of(chosen: tuple[Turn, ...], rejected: tuple[Turn, ...], kind: str) -> Pair:
    """The pair of two dialogues that differ in the last answer alone; FilteredRow for others."""
    if chosen == rejected:
        raise FilteredRow("equal answers")
    *history, last = chosen
    *other_history, other = rejected
    if history != other_history or last[:2] != other[:2]:
        raise FilteredRow("the dialogues differ before the last answer")
    return Pair(last.instruction, last.context, last.response, other.response, kind, tuple(history))


def _role(message: Any) -> str:
    role = message.get("role") or message.get("from") if isinstance(message, dict) else None
    if role in ("tool", "function", "function_call", "observation") or (
        isinstance(message, dict) and message.get("tool_calls")
    ):
        raise FilteredRow("tools are called")
    if not isinstance(role, str) or role not in _ROLES:
        raise MalformedRow(f"messages: role {role!r}, not system, user or assistant")
    return _ROLES[role]


def _content(message: dict[str, Any]) -> str:
    text = message.get("content", message.get("value"))
    if isinstance(text, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in text]
        kinds = {part.get("type", "text") for part in text if isinstance(part, dict)}
        if kinds - {"text"}:
            raise FilteredRow("a message has parts that are no text")
        text = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(text, str):
        raise MalformedRow(f"messages: content holds {type(text).__name__}, not text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MalformedRow("messages: half a surrogate pair, which is not Unicode text") from None
    return text


def _answered(turns: list[Turn]) -> tuple[Turn, ...]:
    if not turns:
        raise FilteredRow("nothing is answered")
    if not all(turn.instruction.strip() for turn in turns):
        raise FilteredRow("blank request")
    if not all(turn.response.strip() for turn in turns):
        raise FilteredRow(BLANK.format("response"))
    return tuple(turns)
