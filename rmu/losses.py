"""RMU's loss, at the output H of one decoder layer.

    loss     = forget + retain
    forget   = mean_b MSE(H(x_f), s_k kappa_k u_k)
    retain   = alpha_k mean_b MSE(H(x_r), H_frozen(x_r))

k is the topic of the batch, u_k its control vector (unlearn/training/steering.py), s_k its steering
coefficient; MSE is the mean over tokens and the d numbers of each. kappa depends on `adaptive`:

    none                   1 (RMU)
    first_batch            scale * mean_b mean_t |H_frozen(x_f)| over the first batch of topic k;
                           a constant from then on
    first_batch_updated    the same of the model under training, as in upstream's code; topic k has
                           seen k - 1 updates by then
    per_sample             scale * mean_t |H_frozen(x_f)| of each text, as in the paper
    per_token              scale * |H_frozen(x_f)| of each token

RMU: Li et al. 2024, arXiv 2403.03218, section 4. Adaptive RMU: Dang et al. 2024, arXiv 2408.06223,
section 5, and its code RebelsNLU-jaist/llm-unlearning.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from rmu.data import PaddedTexts, TextPair
from rmu.parameters import FrozenWeights
from unlearn.language_model.hidden_states import compute_states
from unlearn.training.steering import per_sample, squared_error, upcast

ADAPTIVE = ("none", "first_batch", "first_batch_updated", "per_sample", "per_token")


@dataclass(frozen=True)
class RmuConfig:
    """The parameters of the loss.

    layer             the decoder layer whose output H is steered
    alpha             weight of the retain term, one number a topic
    steering          s_k, one number a topic
    adaptive, scale   how kappa is computed (module docstring)
    mask              tokens in the MSE: `valid`, or `none` (padding too, as upstream)
    bos               whether norms count the BOS token: `exclude` or `include`
    padding           `right`, or `upstream`: on the left, and counted in errors and norms
    log_statistics    also return norms and cosines of the states
    """

    layer: int
    alpha: list[float]
    steering: list[float]
    adaptive: str = "none"
    scale: float = 5.0
    mask: str = "valid"
    bos: str = "exclude"
    log_statistics: bool = False
    padding: str = "right"


class RmuLoss:
    """The loss as `unlearn.training.loop.train` calls it, with (part, whole, step).

    `state` holds kappa_k of every topic seen so far; it belongs to a checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        frozen_weights: FrozenWeights,
        control_vectors: Tensor,
        config: RmuConfig,
        pad_id: int,
        bos_id: int | None,
    ):
        """control_vectors [K, d] float32: u_k."""
        self.model = model
        self.frozen_weights = frozen_weights
        self.config = config
        self.control_vectors = control_vectors.to(next(model.parameters()).device)
        self.pad_id = pad_id
        self.bos_id = bos_id
        self.state: dict[str, float] = {}
        # ids and frozen states of the last retain batch: topics that share a retain corpus read
        # the same batch one after the other
        self.retain_cache: tuple[Tensor, Tensor] | None = None

    def __call__(self, part: list[TextPair], whole: list[TextPair], step: int) -> dict[str, Tensor]:
        """The loss parts of `part`, which add up over the parts of the batch `whole`.

        All pairs of a batch belong to one topic.
        """
        config = self.config
        topic = whole[0].topic
        forget = self.pad_texts("forget", part, whole)
        retain = self.pad_texts("retain", part, whole)
        self.set_kappa(topic, whole)
        frozen_retain = self.frozen_retain_states(retain)
        reads_frozen_forget = config.log_statistics or config.adaptive.startswith("per_")
        frozen_forget = self.frozen_states(forget) if reads_frozen_forget else None
        kappa = self.kappa(topic, forget, frozen_forget)
        target = config.steering[topic] * kappa * self.control_vectors[topic]
        h_forget = self.hidden_states(forget)
        h_retain = self.hidden_states(retain)
        mask = "none" if config.padding == "upstream" else config.mask
        forget_error = squared_error(h_forget, target, forget.mask, mask)
        retain_error = squared_error(h_retain, frozen_retain, retain.mask, mask)
        forget_loss = forget_error.sum() / len(whole)
        retain_loss = config.alpha[topic] * retain_error.sum() / len(whole)
        losses = {"loss": forget_loss + retain_loss, "forget": forget_loss, "retain": retain_loss}
        if config.log_statistics:
            losses |= representation_statistics(
                "forget", h_forget, frozen_forget, forget, len(whole)
            )
            losses |= representation_statistics(
                "retain", h_retain, frozen_retain, retain, len(whole)
            )
        return losses

    def pad_texts(self, side: str, part: list[TextPair], whole: list[TextPair]) -> PaddedTexts:
        """The `forget` or the `retain` texts of a part.

        Where padding counts, they are as wide as those of the whole batch.
        """
        texts = [getattr(pair, side) for pair in part]
        left = self.config.padding == "upstream"
        pads_count = left or self.config.mask == "none"
        width = max(len(getattr(pair, side)) for pair in whole) if pads_count else 0
        skip_bos = self.bos_id if self.config.bos == "exclude" else None
        device = self.control_vectors.device
        return PaddedTexts.build(texts, self.pad_id, device, width, skip_bos, left)

    def hidden_states(self, texts: PaddedTexts) -> Tensor:
        """H [B, T, d] of the model under training."""
        return compute_states(self.model, self.config.layer, texts.ids, texts.mask)

    def frozen_states(self, texts: PaddedTexts) -> Tensor:
        """H [B, T, d] of the original model, without gradients."""
        with self.frozen_weights.restored():
            return self.hidden_states(texts)

    def frozen_retain_states(self, texts: PaddedTexts) -> Tensor:
        """`frozen_states`, computed once where the same texts come twice in a row."""
        if self.retain_cache is None or not torch.equal(self.retain_cache[0], texts.ids):
            self.retain_cache = (texts.ids, self.frozen_states(texts))
        return self.retain_cache[1]

    def set_kappa(self, topic: int, whole: list[TextPair]) -> None:
        """Set kappa_k on the first visit of topic k, where `adaptive` computes it once.

        Every process computes it from the whole batch.
        """
        name = f"kappa_{topic}"
        config = self.config
        if name in self.state or not config.adaptive.startswith("first_batch"):
            return
        read = self.frozen_states if config.adaptive == "first_batch" else self.hidden_states
        norms = []
        for pair in whole:  # one by one: the whole batch may not fit where micro-batches do
            texts = self.pad_texts(
                "forget", [pair], whole if config.padding == "upstream" else [pair]
            )
            with torch.no_grad():
                h = read(texts)
            norms.append(per_sample(upcast(h).norm(dim=-1), texts.norm_mask))
        self.state[name] = config.scale * float(torch.cat(norms).mean())

    def kappa(self, topic: int, texts: PaddedTexts, frozen: Tensor | None) -> float | Tensor:
        """A number, or [B, 1, 1] (per_sample), or [B, T, 1] (per_token).

        frozen [B, T, d]: H_frozen of the texts, for per_sample and per_token.
        """
        if self.config.adaptive == "none":
            return 1.0
        if self.config.adaptive.startswith("first_batch"):
            return self.state[f"kappa_{topic}"]
        norms = frozen.float().norm(dim=-1)
        if self.config.adaptive == "per_token":
            return self.config.scale * norms[..., None]
        return self.config.scale * per_sample(norms, texts.norm_mask)[:, None, None]


@torch.no_grad()
def representation_statistics(
    side: str, h: Tensor, frozen: Tensor, texts: PaddedTexts, batch_size: int
) -> dict[str, Tensor]:
    """Norms of the trained and of the frozen states [B, T, d], and the cosine between them.

    Each is a mean over tokens, summed over samples and divided by `batch_size`.
    """
    h = h.float()
    frozen = frozen.float()
    values = {
        "norm": (h.norm(dim=-1), texts.norm_mask),
        "frozen_norm": (frozen.norm(dim=-1), texts.norm_mask),
        "cosine": (cosine_similarity(h, frozen, dim=-1), texts.mask),
    }
    return {
        f"{side}_{name}": per_sample(value, mask).sum() / batch_size
        for name, (value, mask) in values.items()
    }
