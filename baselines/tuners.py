"""The baselines' tuners: all weights, or a LoRA. Both train a whole HF model; what they say of the
model before unlearning differs.

full   float32 weights under bfloat16 autocast on CUDA (what upstream's DeepSpeed runs keep, spec:
       framework pitfalls)
lora   a frozen base model and low-rank updates of its linear layers (arXiv 2106.09685), by peft
"""

import warnings
from contextlib import contextmanager

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from unlearn.language_model.batches import AnswerLogits, Batch, pad
from unlearn.language_model.hidden_states import forward_with_states


@contextmanager
def quiet():
    """transformers 5.23 warns of names that its version 6 will have instead; 5.17 does not know
    those yet, and peft does not use them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


class Tuner:
    """What both have in common: one forward serves all batches of a step, and there is no term of
    their own."""

    needs_retain = False

    def __init__(self, model: nn.Module, gradient_checkpointing: bool):
        """gradient_checkpointing: recompute activations in the backward pass; less memory, the same
        gradients."""
        self.model = model.train()
        if gradient_checkpointing:
            with quiet():
                model.gradient_checkpointing_enable(
                    gradient_checkpointing_kwargs={"use_reentrant": False}
                )
            # else a frozen embedding cuts the graph, and a LoRA silently trains nothing
            model.enable_input_require_grads()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def trainable_params(self) -> int:
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        """One forward over all examples of all batches."""
        encoded = [e for batch in batches.values() for e in batch.encoded]
        together = forward_with_states(self.model, pad(encoded, 0, self.device), state_layer)
        tokens = [len(batch.example_index) for batch in batches.values()]
        sizes = [len(batch) for batch in batches.values()]
        parts = zip(
            batches,
            together.logits.split(tokens),
            together.labels.split(tokens),
            together.example_index.split(tokens),
            sizes,
            [None] * len(tokens) if together.states is None else together.states.split(tokens),
            strict=True,
        )
        return {
            name: AnswerLogits(logits, labels, rows - rows[0], size, states=states)
            for name, logits, labels, rows, size, states in parts
        }

    def auxiliary_losses(self, said: dict[str, AnswerLogits]) -> dict[str, Tensor]:
        return {}


class FullTuner(Tuner):
    """Moves every weight; with `freeze_lm_head`, every weight but the output head's, as GRUN's
    baselines do (spec 5.1).

    A TIED head (the embedding matrix itself, as in `tiny`, Llama-3.2-1B or Gemma) IS NOT FROZEN,
    whatever the flag says: freezing it would freeze the input embeddings too, which upstream
    trains; `frozen_head` says what was done. The reference is the model itself until it moves
    (`unlearn.training.loss.precompute_reference_nll`); `frozen`, a second copy, is needed for reference
    logits alone."""

    def __init__(
        self,
        model: nn.Module,
        freeze_lm_head: bool = True,
        gradient_checkpointing: bool = False,
        frozen: nn.Module | None = None,
    ):
        super().__init__(model.requires_grad_(True), gradient_checkpointing)
        head = model.get_output_embeddings()
        self.frozen = frozen
        self.moved = False
        self.frozen_head = freeze_lm_head and head.weight is not model.get_input_embeddings().weight
        head.requires_grad_(not self.frozen_head)

    @torch.no_grad()
    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        """The second copy's word; without one the model's own, which is right before the first step
        and never asked for later."""
        assert self.frozen is not None or not self.moved
        return forward_with_states(self.frozen or self.model, batch, state_layer)

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        self.moved = True
        return super().forward_answers(batches, state_layer)


class LoraTuner(Tuner):
    """Moves A [r, in] and B [out, r] of W + (alpha / r) B A in every linear layer but the output
    head; dropout on the update's input.

    The reference is the model with its updates switched off. targets: names of the linear layers,
    [] for all."""

    def __init__(
        self,
        model: nn.Module,
        rank: int = 4,
        alpha: float = 32,
        dropout: float = 0.05,
        targets: list[str] | None = None,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ):
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=targets or "all-linear",
            bias="none",
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(), quiet():
            torch.manual_seed(seed)
            try:
                adapted: PeftModel = get_peft_model(model, config)
            except ValueError as error:
                raise ValueError(
                    f"--lora_targets {' '.join(targets or [])}: {str(error).splitlines()[0]}"
                ) from None
        super().__init__(adapted, gradient_checkpointing)

    @torch.no_grad()
    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        with self.model.disable_adapter():
            return forward_with_states(self.model, batch, state_layer)
