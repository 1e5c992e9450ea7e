"""GRUN's edit of one hidden vector: LoReFT, its gated form, and the gate. Import them from
`pyvene_custom`.

h in R^d is a decoder block's output at one position, R in R^{d x r} has orthonormal columns, W in
R^{r x d}, b in R^r:

    phi(h) = R (W h + b - R^T h)          LoReFT:  h' = h + phi(h)          GRUN:  h' = h +
                                          sigmoid(G(h)) phi(h)

Sources: LoReFT, Wu et al. 2024 (arXiv 2404.03592, section 3); the gate, GRUN (arXiv 2502.17823; the
authors' pyreft/interventions.py, whose dropout acted on all of h' and whose reloaded R lost
orthonormality in further training). R is kept orthonormal by torch's Householder parametrisation.
That one needs weight_decay=0: decay shrinks the -1 on the raw matrix's diagonal, torch casts the
diagonal to int, and R becomes 0 for good (a test shows it)."""

from itertools import pairwise

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
from torch.nn.utils.parametrize import is_parametrized

GATES = {
    "linear": (),
    "mlp_3": (256, 64),
    "mlp_5": (1024, 512, 256, 64),
}  # kind -> widths of the hidden ReLU layers


class Gate(nn.Module):
    """The scalar G(h), one logit a position: `linear` d->1, `mlp_3` d->256->64->1, `mlp_5`
    d->1024->512->256->64->1.

    forward: h [..., width] of any float dtype -> logits [...] float32, computed in `dtype`. `bias`
    is the last layer's initial bias (None: torch's default, a gate near 0.5). State dict:
    gate_func.{weight,bias} for `linear`, otherwise gate_func.{0,2,...}.{weight,bias}. Raises
    ValueError for an unknown kind."""

    def __init__(
        self, kind: str, width: int, bias: float | None = None, dtype: torch.dtype = torch.float32
    ):
        super().__init__()
        if kind not in GATES:
            raise ValueError(f"unknown gate {kind!r}: choose one of {', '.join(GATES)}")
        widths = [width, *GATES[kind], 1]
        layers = [nn.Linear(a, b, dtype=dtype) for a, b in pairwise(widths)]
        if bias is not None:
            nn.init.constant_(layers[-1].bias, bias)
        between = [module for layer in layers[:-1] for module in (layer, nn.ReLU())]
        self.gate_func = nn.Sequential(*between, layers[-1]) if between else layers[-1]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.gate_func.parameters()).dtype

    def forward(self, h: Tensor) -> Tensor:
        logits = self.gate_func(h.to(self.dtype)).squeeze(-1)
        return logits.to(torch.promote_types(self.dtype, torch.float32))


class LoreftIntervention(
    SourcelessIntervention, TrainableIntervention, DistributedRepresentationIntervention
):
    """The edit h -> h' of vectors of width `embed_dim` = d in a subspace of `low_rank_dimension` =
    r; None: no gate.

    compute_dtype is that of W, b and the gate: float32, or bfloat16 for parity with the authors'
    code; R and the sums stay float32. dropout acts on phi alone. frozen keeps R as plain numbers,
    without the d x d basis that training needs. pyvene's bookkeeping fields are accepted; any other
    keyword is a TypeError. Trainable: 2 d r + r + |G| numbers. state_dict holds what the authors'
    files hold: weight [r,d], bias [r], gate_func.*, and rotate_layer [d,r] = R itself. Loading
    returns R bit for bit and completes its basis anew: training goes on orthonormal, but in other
    coordinates. To resume with an optimiser's moments keep named_parameters() and named_buffers()
    instead; load_state_dict takes those names too."""

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
        self.register_state_dict_post_hook(_save_as_upstream)
        self.register_load_state_dict_pre_hook(_load_from_upstream)

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


_SHORT = {
    "learned_source.": "",
    "gate.gate_func.": "gate_func.",
}  # our module names -> the names in the authors' files
_RAW = "rotate_layer.parametrizations.weight.original"
_BASE = "rotate_layer.parametrizations.weight.0.base"
_PLAIN = "rotate_layer.weight"  # of a frozen one


def _save_as_upstream(module: LoreftIntervention, state: dict, prefix: str, _metadata) -> None:
    for name in ("embed_dim", "interchange_dim", _RAW, _BASE, _PLAIN):
        state.pop(prefix + name, None)
    for ours, short in _SHORT.items():
        for key in [key for key in state if key.startswith(prefix + ours)]:
            state[prefix + short + key[len(prefix + ours) :]] = state.pop(key)
    state[prefix + "rotate_layer"] = module.rotation().detach()


def _load_from_upstream(module: LoreftIntervention, state: dict, prefix: str, *_) -> None:
    if prefix + "rotate_layer" not in state:
        return  # strict loading reports what is missing
    rotation = state.pop(prefix + "rotate_layer")
    wanted = module.rotation()
    if rotation.shape != wanted.shape:
        raise ValueError(
            f"the stored rotation is {tuple(rotation.shape)}, but this one needs {tuple(wanted.shape)}"
        )
    rotation = rotation.to(wanted.dtype)
    if not is_parametrized(module.rotate_layer):
        state[prefix + _PLAIN] = rotation
    else:
        basis = torch.linalg.qr(rotation, mode="complete").Q
        basis[:, : rotation.shape[1]] = (
            rotation  # qr returns these columns rounded and with a sign of its own
        )
        state |= {
            prefix + _BASE: basis,
            prefix + _RAW: -torch.eye(*rotation.shape),
        }  # -I maps to I: R = basis[:, :r]
    for name in ("weight", "bias"):
        if prefix + name in state:
            state[prefix + "learned_source." + name] = state.pop(prefix + name)
    for key in [key for key in state if key.startswith(prefix + "gate_func.")]:
        state[prefix + "gate." + key[len(prefix) :]] = state.pop(key)
    state |= {prefix + name: getattr(module, name) for name in ("embed_dim", "interchange_dim")}
