"""Our checkpoints as an lm-eval model named `grun`, GRUN adapters included, and lm-eval's own
command with that name known to it.

    python -m eval.scoring.lm_eval_model run --model grun \\
        --model_args pretrained=runs/wmdp/tiny/full/target-seed42,adapter=<run>/adapter \\
        --include_path <folder> --tasks ...
    python -m eval.scoring.lm_eval_model run --model grun \\
        --model_args pretrained=runs/wmdp/tiny/poisons+locks/rmu-rmu-seed42 --tasks wmdp_bio,mmlu

`pretrained` is a run directory, a hub id or a model folder; `adapter` a GRUN adapter's folder, or
its run. Every request is (context, continuation): the edit sits at the last token of the context,
and the requests of one context share one forward pass of it.
"""

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

# contexts per forward where lm-eval's batch size is `auto`
BATCH_SIZE = 32


def open_with_likelihoods(
    pretrained: str, adapter: str | None, device: str, dtype: str
) -> EvalModel:
    """The checkpoint, with its adapter.

    Raises `ValueError` for a control behind an input filter, which has no likelihoods, and as
    `load_eval_model` does.
    """
    eval_model = load_eval_model(pretrained, device, dtype)
    if adapter is not None:
        eval_model = attach_adapter(eval_model, adapter)
    if isinstance(eval_model, FilteredModel):
        raise ValueError(
            f"{pretrained} is a model behind a guard: it refuses or answers, and has no "
            "likelihoods to compare choices by"
        )
    return eval_model


@register_model("grun")
class GrunLM(HFLM):
    """lm-eval's HF model with our checkpoints, and its likelihood requests run by context."""

    def __init__(
        self,
        pretrained: str | EvalModel,
        adapter: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | str = BATCH_SIZE,
        **kwargs,
    ):
        if not isinstance(pretrained, EvalModel):
            pretrained = open_with_likelihoods(pretrained, adapter, device or "auto", dtype)
        self.eval_model = pretrained
        self.adapter_hooks = pretrained.adapter_hooks
        super().__init__(
            pretrained=pretrained.model,
            tokenizer=pretrained.prompt_encoder.tokenizer,
            batch_size=batch_size,
            **kwargs,
        )

    def _loglikelihood_tokens(
        self, requests: list[tuple], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """(log p(continuation | context), whether it is the greedy one) of every (texts, context
        ids, continuation ids).

        A request without texts is a piece of a rolling one: it has no prompt, so nothing is edited.
        """
        by_context: dict[tuple, list[int]] = {}
        for i, (texts, context, continuation) in enumerate(requests):
            length = self.max_length + 1 - len(continuation)
            by_context.setdefault((texts is None, *context[-length:]), []).append(i)
        order = sorted(by_context, key=lambda key: (key[0], -len(key)))
        size = self.batch_size if isinstance(self.batch_size, int) else BATCH_SIZE
        starts = tqdm(
            range(0, len(order), size), desc="contexts", disable=disable_tqdm or None, mininterval=1
        )
        results: list = [None] * len(requests)
        for start in starts:
            for rolling in (False, True):
                keys = [key for key in order[start : start + size] if key[0] == rolling]
                indices = [by_context[key] for key in keys]
                if not keys:
                    continue
                continuations = [[requests[i][2] for i in group] for group in indices]
                contexts = [list(key[1:]) for key in keys]
                answers = self.score_continuations(contexts, continuations, edited=not rolling)
                for group, group_answers in zip(indices, answers, strict=True):
                    for i, answer in zip(group, group_answers, strict=True):
                        results[i] = answer
                        self.cache_answer(requests[i][0], answer)
        return results

    def cache_answer(self, texts: tuple | None, answer: tuple[float, bool]) -> None:
        """Tell lm-eval's request cache about an answer; rolling requests have no key there."""
        if texts is not None:
            self.cache_hook.add_partial("loglikelihood", texts, answer)

    @torch.no_grad()
    def score_continuations(
        self, contexts: list[list[int]], continuations: list[list[list[int]]], edited: bool
    ) -> list[list[tuple[float, bool]]]:
        """For every context, (log p, greedy?) of each of its continuations.

        One pass over the contexts; where a continuation has several tokens, one more per place in
        the list over those tokens alone, behind the contexts' cached keys and values.
        """
        longest = max(len(tokens) for group in continuations for tokens in group)
        ids, mask = pad_left(contexts, self.tokenizer.pad_token_id, self.device)
        results: list[list] = [[] for _ in contexts]
        with self.edit_contexts(ids, mask, edited):
            logits, cache = self.forward(ids, mask, keep_cache=longest > 1)
            first = logits[:, -1].log_softmax(-1)
            for j in range(max(map(len, continuations))):
                column = [group[j] if j < len(group) else [] for group in continuations]
                logp = first[:, None]
                if max(map(len, column)) > 1:
                    logp = torch.cat([logp, self.score_later_tokens(column, mask, cache)], 1)
                for b, tokens in enumerate(column):
                    if tokens:
                        results[b].append(sum_tokens(logp[b, : len(tokens)], tokens))
        return results

    def score_later_tokens(self, continuations: list[list[int]], mask: Tensor, cache) -> Tensor:
        """[B, n - 1, V]: log probabilities that follow the tokens but the last of each
        continuation, right-padded; the cache stays as it is.
        """
        width = max(map(len, continuations)) - 1
        inputs = [(tokens[:-1] + [0] * width)[:width] for tokens in continuations]
        counts = [max(len(tokens) - 1, 0) for tokens in continuations]
        real = [[1] * count + [0] * (width - count) for count in counts]
        ids = torch.tensor(inputs, device=self.device)
        whole_mask = torch.cat([mask, torch.tensor(real, device=self.device)], 1)
        positions = mask.sum(1, keepdim=True) + torch.arange(width, device=self.device)
        logits, _ = self.forward(ids, whole_mask, positions, deepcopy(cache))
        return logits.log_softmax(-1)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor | None = None,
        cache=None,
        keep_cache: bool = False,
    ) -> tuple[Tensor, object]:
        """Float32 logits, and keys and values where they are kept."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0) if positions is None else positions,
            past_key_values=cache,
            use_cache=keep_cache or cache is not None,
        )
        return output.logits.float(), output.past_key_values if keep_cache else None

    def edit_contexts(self, ids: Tensor, mask: Tensor, edited: bool):
        """A context in which the first pass is the prefill of a prompt, edited at its last token if
        `edited`, and what follows behind its cache are decode steps.
        """
        if self.adapter_hooks is None:
            return nullcontext()
        if not edited:
            return self.adapter_hooks.off()
        inputs = {"input_ids": ids, "attention_mask": mask}
        return self.adapter_hooks.prompt_ends.of_generate((), inputs)

    def score_next_tokens(self, prompts: Sequence[list[int]], size: int = BATCH_SIZE) -> Tensor:
        """[P, V] float32 logits after each prompt."""
        logits = []
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            ids, mask = pad_left(batch, self.tokenizer.pad_token_id, self.device)
            with torch.no_grad(), self.edit_contexts(ids, mask, edited=True):
                logits.append(self.forward(ids, mask)[0][:, -1])
        return torch.cat(logits)


def sum_tokens(logp: Tensor, tokens: list[int]) -> tuple[float, bool]:
    """(log p of the tokens, whether each is the likeliest) from log probabilities [n, V]."""
    picked = logp.gather(1, torch.tensor(tokens, device=logp.device)[:, None])
    return float(picked.sum()), logp.argmax(1).tolist() == tokens


if __name__ == "__main__":
    cli_evaluate()
