"""RMU's loss, at the output H of one decoder block (arXiv 2403.03218, section 4; adaptive: arXiv
2408.06223, section 5):

    loss = mean_b MSE(H(x_f), c_k kappa_k) + alpha_k mean_b MSE(H(x_r), H_frozen(x_r))

k is the topic of the batch, c_k = s_k u_k its control vector
(unlearn/language_model/hidden_states.py), MSE the mean over valid tokens and the d numbers of each.

    kappa    none                   1: RMU
             first_batch            scale * mean_b mean_t |H_frozen(x_f)| over the first batch of
                                    topic k, a constant from then on
             first_batch_updated    the same of the model under training, as upstream's code: after
                                    k - 1 updates
             per_sample             scale * mean_t |H_frozen(x_f)| of each text, as the paper writes
                                    it
             per_token              scale * |H_frozen(x_f)| of each token
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from rmu.parameters import FrozenWeights
from unlearn.language_model.hidden_states import padded, states
from unlearn.training.steering import per_sample, squared_error

ADAPTIVE = ("none", "first_batch", "first_batch_updated", "per_sample", "per_token")


@dataclass(frozen=True)
class Pair:
    """A text to forget and one to keep, as token ids; topic: its number."""

    topic: int
    forget: tuple[int, ...]
    retain: tuple[int, ...]


@dataclass(frozen=True)
class Texts:
    """Padded texts. ids [B, T]; mask [B, T] bool: tokens; counted [B, T] bool: those whose norms
    count, all but BOS, whose state is huge in many models and the same in every text."""

    ids: Tensor
    mask: Tensor
    counted: Tensor


@dataclass(frozen=True)
class Corpora:
    """Token ids of every topic's texts, in order. Step i takes topic k = i mod K, and batch i // K
    of its forget and its retain texts."""

    forget: list[list[tuple[int, ...]]]
    retain: list[list[tuple[int, ...]]]
    batch: int

    @property
    def steps(self) -> int:
        """As many as there are whole batches of every topic."""
        return len(self.forget) * min(
            len(texts) // self.batch for texts in (*self.forget, *self.retain)
        )

    def items(self, step: int) -> list[Pair]:
        number, k = divmod(step, len(self.forget))
        place = slice(number * self.batch, (number + 1) * self.batch)
        return [
            Pair(k, f, r) for f, r in zip(self.forget[k][place], self.retain[k][place], strict=True)
        ]


@dataclass(frozen=True)
class RmuConfig:
    """The choices that the loss is made of. alpha, steering: one number a topic; mask: tokens in
    the MSE, `valid` or `none` (padding too, as upstream); bos: whether norms count the BOS token,
    `exclude` or `include`; told: also return norms and cosines."""

    layer: int
    alpha: list[float]
    steering: list[float]
    adaptive: str = "none"
    scale: float = 5.0
    mask: str = "valid"
    bos: str = "exclude"
    told: bool = False


class Rmu:
    """Call it with (part, whole, step), as `unlearn.training.loop.train` does. `state`: kappa_k of
    every topic seen so far."""

    def __init__(
        self,
        model: nn.Module,
        originals: FrozenWeights,
        controls: Tensor,
        rule: RmuConfig,
        pad_id: int,
        bos_id: int | None,
    ):
        """controls [K, d]: u_k."""
        self.model = model
        self.originals = originals
        self.rule = rule
        self.controls = controls.to(next(model.parameters()).device)
        self.pad_id = pad_id
        self.bos_id = bos_id
        self.state: dict[str, float] = {}
        self.kept: tuple[Tensor, Tensor] | None = (
            None  # frozen states of the last retain batch: with one retain corpus, topics share it
        )

    def __call__(self, part: list[Pair], whole: list[Pair], step: int) -> dict[str, Tensor]:
        rule = self.rule
        topic = whole[0].topic
        forget, retain = (self.texts(name, part, whole) for name in ("forget", "retain"))
        self.know_kappa(topic, whole)
        frozen_retain = self.frozen_retain(retain)
        frozen_forget = (
            self.frozen(forget) if rule.told or rule.adaptive.startswith("per_") else None
        )
        target = (
            rule.steering[topic] * self.kappa(topic, forget, frozen_forget) * self.controls[topic]
        )
        h_forget = self.run(forget)
        h_retain = self.run(retain)
        moved = squared_error(h_forget, target, forget.mask, rule.mask).sum() / len(whole)
        strayed = (
            rule.alpha[topic]
            * squared_error(h_retain, frozen_retain, retain.mask, rule.mask).sum()
            / len(whole)
        )
        parts = {"loss": moved + strayed, "forget": moved, "retain": strayed}
        if rule.told:
            parts |= told("forget", h_forget, frozen_forget, forget, len(whole)) | told(
                "retain", h_retain, frozen_retain, retain, len(whole)
            )
        return parts

    def texts(self, name: str, part: list[Pair], whole: list[Pair]) -> Texts:
        """The forget or the retain texts of a part; where padding counts, as wide as those of the
        whole batch."""
        own = [list(getattr(pair, name)) for pair in part]
        width = max(len(getattr(pair, name)) for pair in whole) if self.rule.mask == "none" else 0
        ids, mask = padded(own, self.pad_id, self.controls.device, width)
        counted = mask.clone()
        if self.rule.bos == "exclude" and self.bos_id is not None:
            counted[:, 0] &= (ids[:, 0] != self.bos_id) | (mask.sum(1) == 1)
        return Texts(ids, mask, counted)

    def run(self, texts: Texts) -> Tensor:
        """H [B, T, d] of the model as it is."""
        return states(self.model, self.rule.layer, texts.ids, texts.mask)

    def frozen(self, texts: Texts) -> Tensor:
        """H [B, T, d] of the original model."""
        with self.originals.restored():
            return self.run(texts)

    def frozen_retain(self, texts: Texts) -> Tensor:
        if self.kept is None or not torch.equal(self.kept[0], texts.ids):
            self.kept = (texts.ids, self.frozen(texts))
        return self.kept[1]

    def know_kappa(self, topic: int, whole: list[Pair]) -> None:
        """kappa_k of the rules that take it once, on the first visit of topic k; every process
        takes it of the whole batch."""
        name = f"kappa_{topic}"
        if self.rule.adaptive.startswith("first_batch") and name not in self.state:
            norms = []
            for pair in whole:  # one by one: the whole batch may not fit where micro-batches do
                texts = self.texts("forget", [pair], [pair])
                with torch.no_grad():
                    h = (
                        self.frozen(texts)
                        if self.rule.adaptive == "first_batch"
                        else self.run(texts)
                    )
                norms.append(per_sample(h.float().norm(dim=-1), texts.counted))
            self.state[name] = self.rule.scale * float(torch.cat(norms).mean())

    def kappa(self, topic: int, texts: Texts, frozen: Tensor | None) -> float | Tensor:
        """A number, or [B, T or 1, 1]."""
        if self.rule.adaptive == "none":
            return 1.0
        if self.rule.adaptive.startswith("first_batch"):
            return self.state[f"kappa_{topic}"]
        norms = frozen.float().norm(dim=-1)
        return self.rule.scale * (
            norms[..., None]
            if self.rule.adaptive == "per_token"
            else per_sample(norms, texts.counted)[:, None, None]
        )


@torch.no_grad()
def told(name: str, h: Tensor, frozen: Tensor, texts: Texts, size: int) -> dict[str, Tensor]:
    """What --verbose logs, means over samples: norm of the updated and of the frozen states, cosine
    between them."""
    h = h.float()
    frozen = frozen.float()
    values = {
        "norm": (h.norm(dim=-1), texts.counted),
        "frozen_norm": (frozen.norm(dim=-1), texts.counted),
    }
    values |= {"cosine": (cosine_similarity(h, frozen, dim=-1), texts.mask)}
    return {
        f"{name}_{key}": per_sample(value, where).sum() / size
        for key, (value, where) in values.items()
    }
