"""The prompt template, the only one: SFT, DPO, RL, chat, server and the Hugging Face chat template use it.

    <|endoftext|>{instruction}
    Context:                      (these two lines only where there is a context)
    {context}
    Response:
    {response}<|endoftext|>{next instruction} ...

A prompt begins with end-of-text because every pretraining document does. One end-of-text stands between two
turns, as between two documents: it ends the answer and begins the next turn. Texts lose the white space at
their ends, so that tokens never straddle the parts: encoding the whole conversation at once or part by part
gives the same ids. Special-token text inside a part is plain text.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Encoder(Protocol):
    """What the template asks of a tokenizer."""

    eot_id: int

    def encode(self, text: str) -> list[int]: ...


class Turn(NamedTuple):
    """One finished exchange; `learned`: whether its answer is one to learn, or only stands before those."""

    instruction: str
    context: str
    response: str
    learned: bool = True


def encode_prompt(
    tokenizer: Encoder, instruction: str, context: str = "", history: Sequence[Turn] = ()
) -> list[int]:
    """The ids of a prompt: from end-of-text to the line `Response:`, after which the model writes."""
    *before, (prompt, _) = encode_turns(tokenizer, [*history, Turn(instruction, context, "")])
    return [*(token for parts in before for part in parts for token in part), *prompt]


def encode_turns(tokenizer: Encoder, turns: Sequence[Turn]) -> list[tuple[list[int], list[int]]]:
    """The ids of each turn's prompt and answer; all of them in a row are the conversation."""
    parts = [
        (tokenizer.encode(_prompt(turn.instruction, turn.context)), encode_response(tokenizer, turn.response))
        for turn in turns
    ]
    parts[0] = ([tokenizer.eot_id, *parts[0][0]], parts[0][1])
    return parts


def encode_response(tokenizer: Encoder, response: str) -> list[int]:
    """The ids of an answer, with the end-of-text that the model has to learn to write."""
    return [*tokenizer.encode(response.strip()), tokenizer.eot_id]


def encode_example(
    tokenizer: Encoder, instruction: str, context: str, response: str, history: Sequence[Turn] = ()
) -> tuple[list[int], list[int]]:
    """The ids of a prompt and those of its answer (ending in end-of-text), which are to be learned."""
    return encode_prompt(tokenizer, instruction, context, history), encode_response(tokenizer, response)


def _prompt(instruction: str, context: str) -> str:
    context = context.strip()
    return instruction.strip() + "\n" + (f"Context:\n{context}\n" if context else "") + "Response:\n"


def chat_template() -> str:
    """The same template in Jinja, for `tokenizer_config.json`.

    A `system` message is the context of the `user` message after it (several are joined by a blank line).
    transformers renders the conversation as text and then encodes it, so there end-of-text *inside a message* becomes
    the special token; the functions above never do that.
    """
    return _CHAT_TEMPLATE


_CHAT_TEMPLATE = """\
{%- set state = namespace(context='', next='user') -%}
{{- bos_token -}}
{%- for message in messages -%}
{%- set text = message['content'] | trim -%}
{%- if message['role'] == 'system' and state.next == 'user' -%}
{%- set state.context = state.context + '\\n\\n' + text if state.context else text -%}
{%- elif message['role'] == 'user' and state.next == 'user' -%}
{{- text + '\\n' -}}
{%- if state.context -%}{{- 'Context:\\n' + state.context + '\\n' -}}{%- endif -%}
{%- set state.context = '' -%}
{%- set state.next = 'assistant' -%}
{%- elif message['role'] == 'assistant' and state.next == 'assistant' -%}
{{- 'Response:\\n' + text + eos_token -}}
{%- set state.next = 'user' -%}
{%- else -%}
{{- raise_exception('messages must go: system (optional), user, assistant, system (optional), user, ...') -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and state.next == 'assistant' -%}{{- 'Response:\\n' -}}{%- endif -%}"""
