"""GRUN's gate G(h), a small network with one logit per position (arXiv 2502.17823)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

GATES = {  # kind -> widths of the hidden ReLU layers
    "linear": (),
    "mlp_3": (256, 64),
    "mlp_5": (1024, 512, 256, 64),
}


class Gate(nn.Module):
    """The scalar G(h): `linear` d->1, `mlp_3` d->256->64->1, `mlp_5` d->1024->512->256->64->1.

    State dict: gate_func.{weight,bias} for `linear`, otherwise gate_func.{0,2,...}.{weight,bias}.
    """

    def __init__(
        self, kind: str, width: int, bias: float | None = None, dtype: torch.dtype = torch.float32
    ):
        """bias: initial bias of the last layer; None: torch's default, a gate near 0.5.

        Raises `ValueError` for an unknown kind.
        """
        super().__init__()
        if kind not in GATES:
            raise ValueError(f"unknown gate {kind!r}: choose one of {', '.join(GATES)}")
        widths = [width, *GATES[kind], 1]
        layers = [nn.Linear(a, b, dtype=dtype) for a, b in pairwise(widths)]
        if bias is not None:
            nn.init.constant_(layers[-1].bias, bias)
        hidden = [module for layer in layers[:-1] for module in (layer, nn.ReLU())]
        self.gate_func = nn.Sequential(*hidden, layers[-1]) if hidden else layers[-1]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.gate_func.parameters()).dtype

    def forward(self, h: Tensor) -> Tensor:
        """h [..., d] of any float dtype -> logits [...] float32, computed in the gate's dtype."""
        logits = self.gate_func(h.to(self.dtype)).squeeze(-1)
        return logits.to(torch.promote_types(self.dtype, torch.float32))
