"""Text to token ids and back: GPT-2's BPE, a BPE trained on any text, and the prompt template."""

from neogpt.tokenizer import template
from neogpt.tokenizer.bpe import StreamDecoder, Tokenizer

__all__ = ["StreamDecoder", "Tokenizer", "template"]
