"""One loader for every kind of checkpoint: target, reference, full, LoRA, GRUN. The only place that knows which kinds there are.

    with load("runs/authors/tiny/forget10/idk-grun-seed42") as subject:
        subject.say(batch); subject.generate(prompts, 64)
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from grun.adapter import Adapter
from grun.hooks import Attached
from unlearn.batches import Batch, Said, pad_left, say
from unlearn.models import load_model, load_tokenizer, template_of
from unlearn.prompts import Prompter
from unlearn.runs import Run, read_json


@dataclass
class Subject:
    """A model under evaluation. `attached` holds its GRUN adapter's hooks, if it has one."""

    name: str
    model: nn.Module
    prompter: Prompter
    attached: Attached | None = None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def say(self, batch: Batch) -> Said:
        """What it says on a batch's scored tokens; an adapter edits each example's last prompt token."""
        if self.attached is None:
            return say(self.model, batch)
        with self.attached.at(batch.prompts - 1):
            return say(self.model, batch)

    @torch.no_grad()
    def generate(self, prompts: list[list[int]], max_new_tokens: int) -> tuple[list[list[int]], Tensor | None]:
        """Greedy continuations without EOS, one per prompt, in one left-padded batch; and the gates [L, B] of the prefill, or None."""
        tokenizer = self.prompter.tokenizer
        ids, mask = pad_left(prompts, tokenizer.pad_token_id, self.device)
        out = self.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        new = out[:, ids.shape[1] :].tolist()
        ended = [row[: row.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in row else row for row in new]
        return ended, self.attached.gates if self.attached else None

    def __enter__(self) -> "Subject":
        return self

    def __exit__(self, *_) -> None:
        if self.attached:
            self.attached.remove()


@lru_cache(1)
def base(source: str, device: str, dtype: str, attn: str) -> nn.Module:
    """The last base model asked for: the adapters of one target follow each other, and share it."""
    return load_model(source, device, dtype, attn)


def load(run: str | Path, device: str = "auto", dtype: str = "auto", attn: str = "auto") -> Subject:
    """Open a finished run, or any hub id or model folder, for evaluation.

    Raises `ValueError` when the directory holds no checkpoint, or one of another base model."""
    path = Path(run)
    if not (path / "config.json").exists() or "objective" not in read_json(path / "config.json"):
        return Subject(str(run), load_model(str(run), device, dtype, attn), Prompter(load_tokenizer(str(run)), template_of(str(run))))
    config = Run(path).config
    target = config.get("target", str(path))
    asked = {name: flag["value"] for name, flag in config["flags"].items()}
    prompter = Prompter(
        load_tokenizer(asked.get("tokenizer") or target), template_of(config["model"], asked["template"]),
        asked.get("prompt_style", "finetune"), max_length=asked["max_length"],
    )  # fmt: skip
    if (path / "adapter").exists():
        model = base(target, device, dtype, attn)
        return Subject(path.name, model, prompter, Attached(model, Adapter.load(model, path / "adapter")))
    if (path / "model").exists():
        return Subject(path.name, load_model(str(path), device, dtype, attn), prompter)
    raise ValueError(f"{path} holds neither adapter/ nor model/; delete it and run its training command again")
