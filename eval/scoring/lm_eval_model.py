"""Our checkpoints as an lm-eval model named `grun`, GRUN adapters included, and lm-eval's own
command with that name known to it.

    python -m eval.scoring.lm_eval_model run --model grun --model_args
    pretrained=runs/wmdp/tiny/full/target-seed42,adapter=<run>/adapter --include_path <folder>
    --tasks ... python -m eval.scoring.lm_eval_model run --model grun --model_args
    pretrained=runs/wmdp/tiny/poisons+locks/rmu-rmu-seed42 --tasks wmdp_bio,mmlu

`pretrained` is a run directory, a hub id or a model folder; `adapter` a GRUN adapter's folder, or
its run. Every request is (context, continuation): the edit sits at the last token of the context,
and the requests of one context share one forward pass of it."""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy

import torch
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from tqdm import tqdm

from eval.scoring.model import EvalModel, FilteredModel, attach_adapter, load_eval_model
from unlearn.language_model.batches import pad_left

BATCH = 32  # contexts a forward, where lm-eval's batch size is `auto`


def opened(pretrained: str, adapter: str | None, device: str, dtype: str) -> EvalModel:
    """The checkpoint, with its adapter. Raises `ValueError` for a guard, which has no likelihoods,
    and as `load_eval_model` does."""
    eval_model = load_eval_model(pretrained, device, dtype)
    eval_model = eval_model if adapter is None else attach_adapter(eval_model, adapter)
    if isinstance(eval_model, FilteredModel):
        raise ValueError(
            f"{pretrained} is a model behind a guard: it refuses or answers, and has no likelihoods to compare choices by"
        )
    return eval_model


@register_model("grun")
class GrunLM(HFLM):
    """lm-eval's HF model with our checkpoints and its likelihood requests run by context."""

    def __init__(
        self,
        pretrained: str | EvalModel,
        adapter: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | str = BATCH,
        **kwargs,
    ):
        eval_model = (
            pretrained
            if isinstance(pretrained, EvalModel)
            else opened(pretrained, adapter, device or "auto", dtype)
        )
        self.eval_model = eval_model
        self.adapter_hooks = eval_model.adapter_hooks
        super().__init__(
            pretrained=eval_model.model,
            tokenizer=eval_model.prompt_encoder.tokenizer,
            batch_size=batch_size,
            **kwargs,
        )

    def _loglikelihood_tokens(
        self, requests: list[tuple], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """(log p(continuation | context), whether it is the greedy one) of every (texts, context
        ids, continuation ids).

        A request without texts is a piece of a rolling one: it has no prompt, so nothing is
        edited."""
        groups: dict[tuple, list[int]] = {}
        for i, (texts, context, continuation) in enumerate(requests):
            room = self.max_length + 1 - len(continuation)
            groups.setdefault((texts is None, *context[-room:]), []).append(i)
        order = sorted(groups, key=lambda key: (key[0], -len(key)))
        size = self.batch_size if isinstance(self.batch_size, int) else BATCH
        found: list = [None] * len(requests)
        for start in tqdm(
            range(0, len(order), size), desc="contexts", disable=disable_tqdm or None, mininterval=1
        ):
            for plain in (False, True):
                keys = [key for key in order[start : start + size] if key[0] == plain]
                if keys:
                    asked = [[requests[i][2] for i in groups[key]] for key in keys]
                    for key, answers in zip(
                        keys,
                        self.answers([list(key[1:]) for key in keys], asked, plain),
                        strict=True,
                    ):
                        for i, answer in zip(groups[key], answers, strict=True):
                            found[i] = answer
                            if requests[i][0] is not None:
                                self.cache_hook.add_partial("loglikelihood", requests[i][0], answer)
        return found

    @torch.no_grad()
    def answers(
        self, contexts: list[list[int]], continuations: list[list[list[int]]], plain: bool
    ) -> list[list[tuple[float, bool]]]:
        """For every context, the answer to each of its continuations: one pass over the contexts;
        where a continuation has several tokens, one more per place in the list over those tokens
        alone, behind the contexts' cached keys and values."""
        longest = max(len(own) for group in continuations for own in group)
        ids, mask = pad_left(contexts, self.tokenizer.pad_token_id, self.device)
        with self.editing(ids, mask, plain):
            first, cache = self.run(ids, mask, keep=longest > 1)
            first = first[:, -1].log_softmax(-1)
            found: list[list] = [[] for _ in contexts]
            for j in range(max(map(len, continuations))):
                own = [group[j] if j < len(group) else [] for group in continuations]
                logs = first[:, None]
                if max(map(len, own)) > 1:
                    logs = torch.cat([logs, self.after(own, mask, cache)], 1)
                for b, tokens in enumerate(own):
                    if tokens:
                        at = logs[b, : len(tokens)]
                        picked = at.gather(1, torch.tensor(tokens, device=at.device)[:, None])
                        found[b].append((float(picked.sum()), at.argmax(1).tolist() == tokens))
        return found

    def after(self, own: list[list[int]], mask: Tensor, cache) -> Tensor:
        """[B, n - 1, V]: log probabilities that follow the tokens but the last of each
        continuation, right-padded; the cache stays as it is."""
        width = max(map(len, own)) - 1
        ids = torch.tensor(
            [(tokens[:-1] + [0] * width)[:width] for tokens in own], device=self.device
        )
        real = torch.tensor(
            [
                [1] * max(len(tokens) - 1, 0) + [0] * (width - max(len(tokens) - 1, 0))
                for tokens in own
            ],
            device=self.device,
        )
        places = mask.sum(1, keepdim=True) + torch.arange(width, device=self.device)
        logits, _ = self.run(ids, torch.cat([mask, real], 1), places, deepcopy(cache))
        return logits.log_softmax(-1)

    def run(
        self,
        ids: Tensor,
        mask: Tensor,
        places: Tensor | None = None,
        cache=None,
        keep: bool = False,
    ) -> tuple[Tensor, object]:
        """Float32 logits, and keys and values where they are kept."""
        places = (mask.cumsum(1) - 1).clamp_min(0) if places is None else places
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=keep or cache is not None,
        )
        return out.logits.float(), out.past_key_values if keep else None

    def editing(self, ids: Tensor, mask: Tensor, plain: bool):
        """Within it, the first pass is the prefill of a prompt, edited at its last token, and what
        follows behind its cache are decode steps."""
        if self.adapter_hooks is None:
            return nullcontext()
        return (
            self.adapter_hooks.off()
            if plain
            else self.adapter_hooks.prompt_ends.of_generate(
                (), {"input_ids": ids, "attention_mask": mask}
            )
        )

    def next_tokens(self, prompts: Sequence[list[int]], size: int = BATCH) -> Tensor:
        """[P, V] float32 logits after each prompt."""
        found = []
        for start in range(0, len(prompts), size):
            ids, mask = pad_left(
                prompts[start : start + size], self.tokenizer.pad_token_id, self.device
            )
            with torch.no_grad(), self.editing(ids, mask, plain=False):
                found.append(self.run(ids, mask)[0][:, -1])
        return torch.cat(found)


if __name__ == "__main__":
    cli_evaluate()
