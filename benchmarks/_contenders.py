"""The contenders of pretraining.py, each in a process of its own: `python _contenders.py NAME SPEC_JSON`.

A contender starts, says so, and then waits at a `Gate` before every measured stretch: it reads a number of steps
from its standard input, takes them, and answers with one JSON line: seconds, losses, peak memory.
"""

import dataclasses
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar, TextIO

HORIZON = 1000  # steps that the learning-rate schedule is made for; none is ever reached
LR, BETAS, DECAY, CLIP, WARMUP = 6e-4, (0.9, 0.95), 0.1, 1.0, 0.002
PEERS = {"hf": ("transformers", "accelerate"), "litgpt": ("litgpt", "lightning")}


@dataclasses.dataclass(frozen=True)
class Spec:
    """What all contenders of a run share."""

    script: ClassVar[str] = "_contenders.py"
    shape: dict[str, int]
    length: int
    size: int
    micro_batches: int
    source: str
    text: str
    tokenizer: str
    vocab_size: int
    dtype: str
    device: str
    threads: int
    folder: str
    """Has `start` (the weights that all begin with) and `batches.npy` (rows of length + 1 ids, in order)."""


def run_config(spec: Spec, compiled: bool) -> Any:
    """The run as NeoGPT's own loop takes it."""
    from neogpt.config import (
        BatchConfig,
        DataConfig,
        EvalConfig,
        GPT2Config,
        OptimConfig,
        RunConfig,
        SaveConfig,
    )
    from neogpt.data.sources import files, tinyworld
    from neogpt.objectives import pretrain

    return RunConfig(
        recipe="benchmark",
        stage="pretrain",
        init_from=str(Path(spec.folder) / "start"),
        steps=HORIZON,
        device=spec.device,
        dtype=spec.dtype,
        compile=compiled,
        threads=spec.threads,
        model=GPT2Config(**spec.shape),
        source=tinyworld.Tinyworld() if spec.source == "tinyworld" else files.Files(path=spec.text),
        data=DataConfig(tokenizer=spec.tokenizer, vocab_size=spec.vocab_size, val_fraction=0.01),
        objective=pretrain.Config(seq_len=spec.length),
        batch=BatchConfig(size=spec.size, micro_batches=spec.micro_batches),
        optim=OptimConfig(name="adamw", lr=LR, weight_decay=DECAY, max_grad_norm=CLIP, warmup_ratio=WARMUP),
        eval=EvalConfig(every=0, val_samples=0),
        save=SaveConfig(every=0),
    )


class Gate:
    """Lets a contender take so many steps, and tells how long they took."""

    def __init__(self, commands: TextIO, answers: TextIO, cuda: bool) -> None:
        self.commands, self.answers, self.cuda = commands, answers, cuda
        self.left, self.losses = 0, []
        self.imported = memory("VmHWM")

    def begin(self) -> None:
        """All is built: wait for the first command."""
        self._answer({"ready": True, "imported": self.imported})
        self._wait()

    def step(self, loss: float) -> None:
        """A step is done."""
        self.losses.append(loss)
        self.left -= 1
        if self.left == 0:
            wall, cpu = self._clocks()
            times = {"wall": wall - self.began[0], "cpu": cpu - self.began[1]}
            self._answer({**times, "losses": self.losses, "peak": self._peak()})
            self._wait()

    def _wait(self) -> None:
        line = self.commands.readline()
        if not line:
            os._exit(0)  # measured; there is nothing to save
        self.left, self.losses = int(line), []
        self.began = self._clocks()

    def _clocks(self) -> tuple[float, float]:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def _peak(self) -> int:
        if self.cuda:
            import torch

            return torch.cuda.max_memory_allocated()
        return memory("VmHWM")

    def _answer(self, values: dict[str, Any]) -> None:
        self.answers.write(json.dumps(values) + "\n")
        self.answers.flush()


def memory(name: str) -> int:
    """Bytes, as Linux counts this process's resident memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def neogpt(spec: Spec, gate: Gate, compiled: bool) -> None:
    """The real loop, with its ledgers; a tracker stops it at every row."""
    from neogpt.train.run import train

    class Watch:
        def row(self, row: dict[str, Any]) -> None:
            if "grad_norm" in row:
                gate.step(row["loss"])

        def event(self, event: dict[str, Any]) -> None:
            if event["event"] == "start":
                gate.begin()

    train(run_config(spec, compiled), Path(mkdtemp(dir=spec.folder)) / "run", trackers=[Watch()])


def plain(spec: Spec, gate: Gate, compiled: bool) -> None:
    """nanoGPT's step."""
    import _nanogpt_style as style
    import torch

    model = style.from_pretrained(Path(spec.folder) / "start", spec.shape).to(spec.device)
    optimizer = style.adamw(model, LR, BETAS, DECAY)
    forward = torch.compile(model) if compiled else model
    autocast = torch.autocast(spec.device, torch.bfloat16, enabled=spec.dtype == "bfloat16")
    batches = _micro_batches(spec)
    gate.begin()
    for step in range(HORIZON):
        gate.step(
            style.training_step(forward, optimizer, batches, spec.micro_batches, autocast, _rate(step), CLIP)
        )


def litgpt(spec: Spec, gate: Gate, compiled: bool) -> None:
    """litgpt's own model, loss and Fabric, stepped as its pretraining steps."""
    import _nanogpt_style as style
    import lightning
    import torch
    from litgpt.utils import chunked_cross_entropy

    kind = "bf16-mixed" if spec.dtype == "bfloat16" else "32-true"
    fabric = lightning.Fabric(accelerator=spec.device, devices=1, precision=kind)
    model = _litgpt_model(spec)
    model = fabric.setup(torch.compile(model) if compiled else model)
    optimizer = fabric.setup_optimizers(style.adamw(model, LR, BETAS, DECAY))
    batches = _micro_batches(spec)
    gate.begin()
    for step in range(HORIZON):
        losses = []
        for micro in range(spec.micro_batches):
            for group in optimizer.param_groups:
                group["lr"] = _rate(step)
            tokens, targets = next(batches)
            with fabric.no_backward_sync(model, enabled=micro < spec.micro_batches - 1):
                loss = chunked_cross_entropy(model(tokens), targets)
                fabric.backward(loss / spec.micro_batches)
            losses.append(loss.detach())
        fabric.clip_gradients(model, optimizer, max_norm=CLIP)
        optimizer.step()
        optimizer.zero_grad()
        gate.step(float(torch.stack(losses).mean()))


def _litgpt_model(spec: Spec) -> Any:
    """litgpt has no GPT-2: its GPT with sequential blocks and no rotation, our positions added to its embedding."""
    import _nanogpt_style as style
    import torch
    from litgpt.config import Config
    from litgpt.model import GPT
    from safetensors.torch import load_file

    shape = spec.shape
    config = Config(
        name="gpt2",
        block_size=shape["n_positions"],
        n_layer=shape["n_layer"],
        n_head=shape["n_head"],
        n_embd=shape["n_embd"],
        vocab_size=shape["vocab_size"],
        padded_vocab_size=shape["vocab_size"],
        parallel_residual=False,
        rotary_percentage=0.0,
        gelu_approximate="tanh",
    )
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    model.wpe = torch.nn.Embedding(shape["n_positions"], shape["n_embd"])
    tensors = style.linear_layout(load_file(Path(spec.folder) / "start" / "model.safetensors"))
    model.load_state_dict(_litgpt_names(tensors))
    model.max_seq_length = spec.length
    positions = model.wpe
    model.transformer.wte.register_forward_hook(lambda _m, _i, x: x + positions.weight[: x.shape[1]])
    return model.to(spec.device)


def _litgpt_names(tensors: dict[str, Any]) -> dict[str, Any]:
    pairs = {"ln_1": "norm_1", "ln_2": "norm_2", "c_attn": "qkv", "attn.c_proj": "attn.proj"}
    pairs |= {"mlp.c_proj": "mlp.proj", "c_fc": "fc", "transformer.wpe": "wpe"}
    named = {}
    for name, tensor in tensors.items():
        for old, new in pairs.items():
            name = name.replace(old, new)
        named[name] = tensor
    return named | {"lm_head.weight": tensors["transformer.wte.weight"]}


def watched(base: Any, gate: Gate) -> tuple[Any, Any]:
    """A transformers Trainer class that notes its losses, and the callback with which it stands at the gate."""
    from transformers import TrainerCallback

    losses: list[Any] = []

    class Noting(base):
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            losses.append(super().training_step(*args, **kwargs))
            return losses[-1]

    class Watch(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            gate.begin()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            gate.step(sum(float(loss) for loss in losses))
            losses.clear()

    return Noting, Watch()


def hf(spec: Spec, gate: Gate, compiled: bool) -> None:
    """transformers' Trainer with its GPT2LMHeadModel."""
    import _nanogpt_style as style
    import numpy as np
    import torch
    from transformers import GPT2LMHeadModel, Trainer, TrainingArguments

    rows = np.load(Path(spec.folder) / "batches.npy", mmap_mode="r")

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, i: int) -> dict[str, Any]:
            row = torch.from_numpy(rows[i].astype(np.int64))
            return {"input_ids": row[:-1], "labels": row[1:], "shift_labels": row[1:]}

    kind, watch = watched(Trainer, gate)
    model = GPT2LMHeadModel.from_pretrained(Path(spec.folder) / "start", dtype=torch.float32)
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        assert getattr(model.config, name) == 0.0, name
    model.config.use_cache = False
    optimizer = style.adamw(model, LR, BETAS, DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step) / LR)
    arguments = TrainingArguments(
        output_dir=str(Path(spec.folder) / "hf"),
        max_steps=HORIZON,
        per_device_train_batch_size=spec.size // spec.micro_batches,
        gradient_accumulation_steps=spec.micro_batches,
        max_grad_norm=CLIP,
        bf16=spec.dtype == "bfloat16",
        use_cpu=spec.device == "cpu",
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        torch_compile=compiled,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    kind(
        model=model,
        args=arguments,
        train_dataset=Rows(),
        optimizers=(optimizer, schedule),
        callbacks=[watch],
    ).train()


def _rate(step: int) -> float:
    from neogpt.config import OptimConfig
    from neogpt.optim.schedule import learning_rate

    return learning_rate(step, HORIZON, OptimConfig(lr=LR, warmup_ratio=WARMUP))


def _micro_batches(spec: Spec) -> Iterator[tuple[Any, Any]]:
    """(tokens, targets) of one micro-batch after the other."""
    import numpy as np
    import torch

    rows, each = np.load(Path(spec.folder) / "batches.npy", mmap_mode="r"), spec.size // spec.micro_batches
    for first in range(0, len(rows), each):
        whole = torch.from_numpy(rows[first : first + each].astype(np.int64)).to(spec.device)
        yield whole[:, :-1].contiguous(), whole[:, 1:].contiguous()


CONTENDERS = {"neogpt": neogpt, "plain": plain, "hf": hf, "litgpt": litgpt}


def available(name: str) -> bool:
    """Whether the packages of this contender are installed."""
    for package in PEERS.get(name.removesuffix("-compiled"), ()):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def serve(kind: Any, contenders: dict[str, Any]) -> None:
    """Be the contender that the command line names; `kind` is the class of its spec."""
    name, spec_file = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")  # what libraries print goes to the log
    os.dup2(2, 1)
    spec = kind(**json.loads(Path(spec_file).read_text()))
    import torch

    torch.set_num_threads(spec.threads)
    torch.manual_seed(0)
    contenders[name.removesuffix("-compiled")](
        spec, Gate(sys.stdin, answers, spec.device == "cuda"), name.endswith("-compiled")
    )


if __name__ == "__main__":
    serve(Spec, CONTENDERS)
