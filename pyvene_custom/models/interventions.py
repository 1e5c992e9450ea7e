"""GRUN's edit of one hidden vector: LoReFT and its gated form.

h in R^d is a decoder layer's output at one position, R in R^{d x r} has orthonormal columns, W in
R^{r x d}, b in R^r:

    phi(h) = R (W h + b - R^T h)
    LoReFT    h' = h + phi(h)
    GRUN      h' = h + sigmoid(G(h)) phi(h)

Sources: LoReFT (arXiv 2404.03592, section 3); GRUN (arXiv 2502.17823; renjie3/GRUN,
pyreft/interventions.py). Upstream's dropout acts on all of h', ours on phi alone, and upstream's R
loses orthonormality when training goes on after loading.

torch's Householder parametrisation keeps R orthonormal. It needs weight_decay=0: decay shrinks the
-1 on the raw matrix's diagonal, torch casts the diagonal to int, and R becomes 0 for good.
"""

import torch
from pyvene import (
    DistributedRepresentationIntervention,
    InterventionOutput,
    RepresentationConfig,
    SourcelessIntervention,
    TrainableIntervention,
)
from pyvene.models.layers import LowRankRotateLayer
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from .gates import Gate
from .upstream_names import load_from_upstream, save_as_upstream


class LoreftIntervention(
    SourcelessIntervention, TrainableIntervention, DistributedRepresentationIntervention
):
    """The edit h -> h' of vectors of width `embed_dim` = d, with rank `low_rank_dimension` = r.

    state_dict has the names of the authors' files: weight [r, d], bias [r], gate_func.*, and
    rotate_layer [d, r] = R itself. Loading returns R bit for bit and completes its basis anew:
    training goes on orthonormal, but in other coordinates. To resume with an optimiser's moments
    keep named_parameters() and named_buffers() instead; load_state_dict takes those names too.
    Trainable: 2 d r + r + |G| numbers.
    """

    def __init__(
        self,
        embed_dim: int,
        low_rank_dimension: int,
        gate: str | None = None,
        gate_bias: float | None = None,
        compute_dtype: torch.dtype = torch.float32,
        dropout: float = 0.0,
        frozen: bool = False,
        **pyvene_fields,
    ):
        """gate: a kind of `Gate`, None for no gate.

        compute_dtype: that of W, b and the gate, float32, or bfloat16 for parity with the authors'
        code; R and the sums stay float32. dropout acts on phi alone. frozen: keep R as plain
        numbers, without the d x d basis that training needs.

        Raises `ValueError` for a rank beyond d, `TypeError` for a keyword that is not pyvene's.
        """
        unknown = set(pyvene_fields) - set(RepresentationConfig._fields) - {"use_fast"}
        if unknown:
            raise TypeError(f"{type(self).__name__} does not know {sorted(unknown)}")
        width = int(embed_dim)
        rank = int(low_rank_dimension)
        if not 1 <= rank <= width:
            raise ValueError(
                f"the rank must lie between 1 and the hidden size {width}, but is {rank}"
            )
        super().__init__(embed_dim=width, keep_last_dim=True, **pyvene_fields)
        rotate_layer = LowRankRotateLayer(width, rank)
        self.rotate_layer = rotate_layer if frozen else orthogonal(rotate_layer)
        self.learned_source = nn.Linear(width, rank, dtype=compute_dtype)
        self.gate = None if gate is None else Gate(gate, width, gate_bias, compute_dtype)
        self.dropout = nn.Dropout(dropout)
        self.register_state_dict_post_hook(save_as_upstream)
        self.register_load_state_dict_pre_hook(load_from_upstream)

    def rotation(self) -> Tensor:
        """Return R [d, r] float32, with its gradient.

        It costs a d x d product: take it once a step and hand it to the methods below.
        """
        with torch.autocast(self.learned_source.weight.device.type, enabled=False):
            return self.rotate_layer.weight

    def low_rank_update(self, h: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Return phi(h) = R (W h + b - R^T h), [..., d] float32, for h [..., d].

        It is what a fully open gate adds to h. rotation: R, where it is at hand.
        """
        rotation = self.rotation() if rotation is None else rotation
        with torch.autocast(h.device.type, enabled=False):
            target = self.learned_source(h.to(self.learned_source.weight.dtype))
            return self.dropout((target - h.to(rotation.dtype) @ rotation) @ rotation.T)

    def gated_update(
        self, h: Tensor, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return g(h) phi(h) [..., d] and the gate logits [...], both float32.

        Without a gate, g = 1 and the logits are None.
        """
        update = self.low_rank_update(h, rotation)
        if self.gate is None:
            return update, None
        with torch.autocast(h.device.type, enabled=False):
            logits = self.gate(h)
            return torch.sigmoid(logits.to(self.gate.dtype)).unsqueeze(-1) * update, logits

    def edit(self, h: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return h' = h + g(h) phi(h) [..., d] in h's dtype, and the gate logits [...] or None."""
        update, logits = self.gated_update(h, rotation)
        return add_update(h, update), logits

    def forward(self, base: Tensor, source=None, subspaces=None) -> InterventionOutput:
        """Edit base [B, positions, d]; pyvene calls this.

        .output is h', .latent is [gate logits [B, positions]] or None.
        """
        edited, logits = self.edit(base)
        return InterventionOutput(output=edited, latent=None if logits is None else [logits])


def add_update(h: Tensor, update: Tensor) -> Tensor:
    """Return h + update in h's dtype; the sum is taken in update's and rounded once."""
    return (h.to(update.dtype) + update).to(h.dtype)


class GatedLoreftIntervention(LoreftIntervention):
    """LoReFT behind a gate (linear unless said otherwise): h' = h + sigmoid(G(h)) phi(h)."""

    def __init__(
        self, embed_dim: int, low_rank_dimension: int, gate: str | None = "linear", **options
    ):
        super().__init__(embed_dim, low_rank_dimension, gate=gate, **options)
