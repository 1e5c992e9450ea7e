"""One loader for every kind of checkpoint: target, reference, full, LoRA, controls, GRUN. The only
place that knows which kinds there are.

with load("runs/authors/tiny/forget10/idk-grun-seed42") as subject:
    subject.say(batch); subject.generate(prompts, 64)
"""

import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn

from baselines.guards.base import InputFilter
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from grun.requests import INDEX, Requests
from unlearn.config.run_directory import Run, read_json
from unlearn.language_model.batches import AnswerLogits, Batch, forward_answers, pad_left
from unlearn.language_model.models import load_model, load_tokenizer, resolve_template
from unlearn.language_model.prompts import PromptEncoder
from unlearn.language_model.sampling import Draws


@dataclass
class EvalModel:
    """A model under evaluation. `adapter_hooks` holds its GRUN adapter's hooks, if it has one."""

    name: str
    model: nn.Module
    prompt_encoder: PromptEncoder
    adapter_hooks: AdapterHooks | None = None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def forward_answers(self, batch: Batch) -> AnswerLogits:
        """What it says on a batch's scored tokens; an adapter edits each example's last prompt
        token."""
        return self.answers(batch)

    def answers(self, batch: Batch) -> AnswerLogits:
        """`forward_answers`, with gradients."""
        if self.adapter_hooks is None:
            return forward_answers(self.model, batch)
        with self.adapter_hooks.at(batch.prompt_lengths - 1):
            return forward_answers(self.model, batch)

    @torch.no_grad()
    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, seeds: list[int] | None = None
    ) -> tuple[list[list[int]], Tensor | None]:
        """Continuations without EOS, one per prompt, in one left-padded batch; and the gates [L, B]
        of the prefill, or None.

        Greedy, or with a seed for each prompt: sampled at temperature 1 from the whole vocabulary,
        the same in any batch."""
        tokenizer = self.prompt_encoder.tokenizer
        ids, mask = pad_left(prompts, tokenizer.pad_token_id, self.device)
        out = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=None if seeds is None else [Draws(seeds)],
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        new = out[:, ids.shape[1] :].tolist()
        ended = [
            row[: row.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in row else row
            for row in new
        ]
        return ended, self.adapter_hooks.gates if self.adapter_hooks else None

    def __enter__(self) -> "EvalModel":
        return self

    def __exit__(self, *_) -> None:
        if self.adapter_hooks:
            self.adapter_hooks.remove()
        if isinstance(self.model, PeftModel):
            self.model.unload()  # the base model is shared


@dataclass
class FilteredModel(EvalModel):
    """A control: a model behind a guard (baselines/guards/base.py). Its gate is 1 where the guard
    fires and a refusal is the answer, else 0.

    It has no likelihoods: a prompt that is refused gets one fixed line, and no probability of
    another answer means anything."""

    guard: InputFilter = field(kw_only=True)

    def forward_answers(self, batch: Batch) -> None:
        return None

    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, seeds: list[int] | None = None
    ) -> tuple[list[list[int]], Tensor | None]:
        tokenizer = self.prompt_encoder.tokenizer
        fired = self.guard.fires(self.model, tokenizer, prompts)
        passed = [place for place, stopped in enumerate(fired.tolist()) if not stopped]
        own = None if seeds is None else [seeds[place] for place in passed]
        spoken = iter(
            super().generate([prompts[place] for place in passed], max_new_tokens, own)[0]
            if passed
            else []
        )
        refusals = [
            tokenizer(self.guard.refusal(prompt), add_special_tokens=False)["input_ids"]
            for prompt in prompts
        ]
        texts = [
            refusal if stopped else next(spoken)
            for refusal, stopped in zip(refusals, fired.tolist(), strict=True)
        ]
        return texts, fired.float()[None]


@lru_cache(1)
def base(source: str, device: str, dtype: str, attn: str, quant: str = "no") -> nn.Module:
    """The last base model asked for: the adapters of one target follow each other, and share it."""
    return load_model(source, device, dtype, attn, quant)


def load(
    run: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    attn: str = "auto",
    own: bool = False,
    merged: bool = False,
) -> EvalModel:
    """Open a finished run, a stack of requests, or any hub id or model folder, for evaluation.

    own: shared with nobody, to be changed; merged: LoRA as part of the weights, which takes a model
    of its own. own merges too.

    Raises `ValueError` when the directory holds no checkpoint, or one of another base model."""
    path = Path(run)
    if (path / INDEX).exists():
        stack = Requests(path)
        model = base(stack.base["id"], device, dtype, attn)
        return EvalModel(
            path.name,
            model,
            PromptEncoder(load_tokenizer(stack.base["id"]), **stack.prompt),
            stack.attach(model),
        )
    if not (path / "config.json").exists() or "objective" not in read_json(path / "config.json"):
        return EvalModel(
            str(run),
            load_model(str(run), device, dtype, attn),
            PromptEncoder(load_tokenizer(str(run)), resolve_template(str(run))),
        )
    config = Run(path).config
    target = config.get("target", str(path))
    asked = {name: flag["value"] for name, flag in config["flags"].items()}
    prompt_encoder = PromptEncoder(
        load_tokenizer(asked.get("tokenizer") or target),
        resolve_template(config["model"], asked["template"]),
        asked.get("prompt_style", "finetune"),
        max_length=asked["max_length"],
    )
    if config["objective"] == "target" and "target" in config:  # a hub's model, evaluated as it is
        return EvalModel(path.name, load_model(target, device, dtype, attn), prompt_encoder)
    if (path / "model").exists():
        return EvalModel(path.name, load_model(str(path), device, dtype, attn), prompt_encoder)
    own = own or (merged and (path / "lora").exists())
    if own:
        base.cache_clear()
    model = (load_model if own else base)(target, device, dtype, attn, asked.get("quant", "no"))
    if (path / "lora").exists():
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # peft asks transformers by a name that its version 6 will not know
            tuned = PeftModel.from_pretrained(model, path / "lora").eval()
        return EvalModel(path.name, tuned.merge_and_unload() if own else tuned, prompt_encoder)
    if (path / "guard").exists():
        return FilteredModel(path.name, model, prompt_encoder, guard=InputFilter.load(path))
    if (path / "adapter").exists():
        return EvalModel(
            path.name,
            model,
            prompt_encoder,
            AdapterHooks(model, Adapter.load(model, path / "adapter")),
        )
    raise ValueError(
        f"{path} holds neither adapter/, guard/, lora/ nor model/; delete it and run its training command again"
    )


def with_adapter(eval_model: EvalModel, adapter: str | Path) -> EvalModel:
    """A loaded base model with the GRUN adapter of this folder, or of this run's."""
    folder = Path(adapter) / "adapter" if (Path(adapter) / "adapter").exists() else Path(adapter)
    eval_model.adapter_hooks = AdapterHooks(
        eval_model.model, Adapter.load(eval_model.model, folder)
    )
    return eval_model
