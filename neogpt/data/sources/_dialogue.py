"""Dialogues in other people's forms as turns of the one template."""

import re
from collections.abc import Sequence
from typing import Any

from neogpt.data.sources._rows import BLANK, FilteredRow, MalformedRow
from neogpt.records import Pair
from neogpt.tokenizer.template import Turn

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def from_messages(messages: Any) -> tuple[Turn, ...]:
    """OpenAI's form: a list of {"role": system | user | assistant, "content": text}.

    A system message is the context of the user message after it. Errors: MalformedRow for another form or order,
    FilteredRow where no message is answered or an answer is blank. What follows the last answer is left out.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise MalformedRow(f"messages: {type(messages).__name__}, not a list")
    turns: list[Turn] = []
    context, asked = "", None
    for message in messages:
        role, text = _role(message), _content(message)
        if role == "system" and asked is None:
            context = text
        elif role == "user" and asked is None:
            asked = text
        elif role == "assistant" and asked is not None:
            turns.append(Turn(asked, context, text))
            context, asked = "", None
        else:
            raise MalformedRow(
                f"messages: {role} out of turn; they go system (optional), user, assistant, ..."
            )
    return _answered(turns)


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
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("system", "user", "assistant"):
        raise MalformedRow(f"messages: role {role!r}, not system, user or assistant")
    return str(role)


def _content(message: dict[str, Any]) -> str:
    text = message.get("content")
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
