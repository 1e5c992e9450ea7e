"""The baselines' tuners: all weights, or a LoRA.

full    float32 weights, under bfloat16 autocast on CUDA, which is what upstream's DeepSpeed runs do
lora    a frozen base model and low-rank updates of its linear layers (Hu et al. 2022, arXiv
        2106.09685), by peft

Both train a whole Hugging Face model. They differ in how they compute the model before unlearning.
The protocol is `unlearn.training.protocols.Tuner`.
"""

import warnings
from contextlib import contextmanager

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from baselines.dropout import draw_per_example
from unlearn.language_model.architecture import get_hidden_size
from unlearn.language_model.batches import AnswerLogits, Batch, pad
from unlearn.language_model.hidden_states import forward_with_states


@contextmanager
def ignore_future_warnings():
    """Within it, no FutureWarning is shown.

    transformers 5.23 warns of names that its version 6 replaces; 5.17 does not have the new ones
    yet, and peft uses the old ones.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


class WholeModelTuner:
    """What both tuners share: one forward pass for all batches of a step, no auxiliary loss."""

    needs_retain = False

    def __init__(self, model: nn.Module, gradient_checkpointing: bool):
        """gradient_checkpointing: recompute activations in the backward pass, which takes less
        memory and gives the same gradients.
        """
        self.model = model.train()
        if gradient_checkpointing:
            with ignore_future_warnings():
                model.gradient_checkpointing_enable(
                    gradient_checkpointing_kwargs={"use_reentrant": False}
                )
            # without it a frozen embedding cuts the graph, and a LoRA silently trains nothing
            model.enable_input_require_grads()

    @property
    def device(self) -> torch.device:
        """Where the batches belong."""
        return next(self.model.parameters()).device

    @property
    def trainable_params(self) -> int:
        """How many numbers may move."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        """The model's answers on all batches, with gradients, from one forward pass.

        state_layer: also return that decoder layer's output at the same positions.
        """
        encoded = [e for batch in batches.values() for e in batch.encoded]
        keys = [key for batch in batches.values() for key in batch.keys]
        joined = self.forward_joined(pad(encoded, 0, self.device, keys), state_layer)
        answers = {}
        first_row = 0
        first_example = 0
        for name, batch in batches.items():
            rows = slice(first_row, first_row + len(batch.example_index))
            answers[name] = AnswerLogits(
                joined.logits[rows],
                joined.labels[rows],
                joined.example_index[rows] - first_example,
                len(batch),
                states=None if joined.states is None else joined.states[rows],
            )
            first_row = rows.stop
            first_example += len(batch)
        return answers

    def forward_joined(self, batch: Batch, state_layer: int | None) -> AnswerLogits:
        """The model's answers on one padded batch."""
        return forward_with_states(self.model, batch, state_layer)

    def auxiliary_losses(self, answers: dict[str, AnswerLogits]) -> dict[str, Tensor]:
        """None."""
        return {}


class FullTuner(WholeModelTuner):
    """Trains every weight, or with `freeze_lm_head` every weight but the output head's.

    GRUN's baselines freeze the head (renjie3/GRUN). A TIED head (the embedding matrix itself, as in
    `tiny`, Llama-3.2-1B or Gemma) IS NOT FROZEN, whatever the flag says: freezing it would freeze
    the input embeddings too, which upstream trains. `frozen_head` is what was done.

    The model is its own reference until it moves, which is enough for reference likelihoods
    (`UnlearningLoss.precompute_reference_nll`). Reference logits and states need `frozen`, a second
    copy of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        freeze_lm_head: bool = True,
        gradient_checkpointing: bool = False,
        frozen: nn.Module | None = None,
    ):
        super().__init__(model.requires_grad_(True), gradient_checkpointing)
        head = model.get_output_embeddings()
        is_tied = head.weight is model.get_input_embeddings().weight
        self.frozen = frozen
        self.has_moved = False
        self.frozen_head = freeze_lm_head and not is_tied
        head.requires_grad_(not self.frozen_head)

    @torch.no_grad()
    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        """The answers of the model before unlearning, without gradients."""
        assert self.frozen is not None or not self.has_moved
        return forward_with_states(self.frozen or self.model, batch, state_layer)

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        self.has_moved = True
        return super().forward_answers(batches, state_layer)


class LoraTuner(WholeModelTuner):
    """Trains A [r, in] and B [out, r] of W + (alpha / r) B A in linear layers.

    Dropout acts on the update's input; its masks are those of baselines/dropout.py. The reference
    is the model with its updates switched off.
    """

    def __init__(
        self,
        model: nn.Module,
        rank: int,
        alpha: float,
        dropout: float,
        targets: list[str] | None = None,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ):
        """targets: names of the linear layers; none means all but the output head.

        Raises `ValueError` for names that the model does not have, or a rank beyond its width.
        """
        width = get_hidden_size(model)
        if rank > width:
            raise ValueError(
                f"--lora_rank {rank}: must be between 1 and this model's hidden size, {width}"
            )
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=targets or "all-linear",
            bias="none",
            # GPT-2's layers keep their weights as [in, out]
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(), ignore_future_warnings():
            torch.manual_seed(seed)
            try:
                adapted: PeftModel = get_peft_model(model, config)
            except ValueError as error:
                message = str(error).splitlines()[0]
                raise ValueError(f"--lora_targets {' '.join(targets or [])}: {message}") from None
        # as a set its order in adapter_config.json would change from process to process
        saved_config = adapted.peft_config[adapted.active_adapter]
        saved_config.target_modules = sorted(saved_config.target_modules)
        self.dropout_rows = draw_per_example(adapted, seed)
        super().__init__(adapted, gradient_checkpointing)

    def forward_joined(self, batch: Batch, state_layer: int | None) -> AnswerLogits:
        self.dropout_rows.set(batch.keys, batch.attention_mask)
        return super().forward_joined(batch, state_layer)

    @torch.no_grad()
    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        """The answers of the base model, without gradients."""
        with self.model.disable_adapter():
            return forward_with_states(self.model, batch, state_layer)
