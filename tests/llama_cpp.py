"""llama.cpp itself as a referee: its own server, in this process, by the wheel xllamacpp."""

import json
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

xllamacpp = pytest.importorskip(
    "xllamacpp", reason="the wheel xllamacpp has llama.cpp for Linux, macOS and Windows"
)


class LlamaCpp:
    """One GGUF file, loaded by llama.cpp on one thread.

    `exact` keeps attention in float32, cache and product; llama.cpp's defaults are float16 in both. Its GELU reads a
    table of float16 either way.
    """

    def __init__(self, file: Path, exact: bool = True) -> None:
        settings = xllamacpp.CommonParams()
        settings.model.path = str(file)
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        settings.warmup = settings.fit_params = False
        settings.verbosity = -1
        if exact:
            settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = xllamacpp.Server(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._server

    def ids(self, text: str, **options: Any) -> list[int]:
        """The ids of a text, special tokens in it read as plain text."""
        options = {"add_special": False, "parse_special": False} | options
        found: list[int] = self.post("/tokenize", content=text, **options)["tokens"]
        return found

    def greedy(self, prompt: str | list[int], n: int) -> list[int]:
        """The likeliest continuation of a text or of ids."""
        answer = self.post("/completion", prompt=prompt, n_predict=n, temperature=0, return_tokens=True)
        found: list[int] = answer["tokens"]
        return found

    def log_probs(self, ids: list[int], n_ids: int) -> list[float]:
        """The log-probability of each of `n_ids` tokens after `ids`.

        One token is asked for, and the bias makes it a printable one: the server leaves out the probabilities of a
        token that is part of a character. They are those before the bias.
        """
        printable = self.ids("a")[0]
        answer = self.post(
            "/completion",
            prompt=ids,
            n_predict=1,
            temperature=0,
            n_probs=n_ids,
            logit_bias=[[printable, 1000]],
        )
        top = answer["completion_probabilities"][0]["top_logprobs"]
        return [item["logprob"] for item in sorted(top, key=lambda item: item["id"])]

    def post(self, path: str, **body: Any) -> Any:
        """What the server answers to JSON; prompts are always computed anew."""
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps({"cache_prompt": False, **body}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
