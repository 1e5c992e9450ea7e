"""A gate in closed form: does a token's hidden state lie near one that the forget set has? No
gradients, only means and one covariance.

    C    = covariance of the states WITHIN their groups (a group is one entity in many contexts),
         shrunk: (1 - s) C + s tr(C)/d I
    z    = V^T C^-1/2 h                            V [d, q]: the q directions in which the groups'
         means of C^-1/2 h differ most
    G(h) = tau - min_k |z - c_k|                   c_k = mean of z over forget group k

A token fires where G > 0: Fisher's discriminant directions, and the nearest centroid in them. What
varies within a name (question, template, position, neighbours) is divided out, what tells names
apart is kept, and no classifier has to be learned from a handful of authors
(../shared/reference/hardening.md, section 3). Without V all d directions add their noise to every
distance: on TOFU that hid the difference."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SHRINKAGE = 0.05
DIRECTIONS = 32  # q; fewer where there are fewer groups
NEGATIVE_QUANTILE = 0.995
FORGET_QUANTILE = 0.01


def within_covariance(states: Tensor, groups: Sequence, shrinkage: float = SHRINKAGE) -> Tensor:
    """states [N, d], groups: N hashable keys -> [d, d] float64: mean over the states, each about
    its group's mean, of the outer product, divided by N - K (K groups); then (1 - s) C + s tr(C)/d
    I. Raises `ValueError` where no group has two states."""
    states = states.double()
    keys = {key: place for place, key in enumerate(dict.fromkeys(groups))}
    if len(keys) == len(states):
        raise ValueError(
            "every group holds a single state, so nothing varies within one; give each entity several contexts"
        )
    index = torch.tensor([keys[key] for key in groups])
    centred = states - group_means(states, index, len(keys))[index]
    covariance = centred.T @ centred / (len(states) - len(keys))
    width = len(covariance)
    return (1 - shrinkage) * covariance + shrinkage * covariance.trace() / width * torch.eye(
        width, dtype=torch.float64
    )


def group_means(states: Tensor, index: Tensor, count: int) -> Tensor:
    """states [N, d], index [N] in 0..count-1 -> [count, d]."""
    sums = states.new_zeros(count, states.shape[1]).index_add(0, index, states)
    return sums / index.bincount(minlength=count)[:, None]


def whitener(covariance: Tensor) -> Tensor:
    """C [d, d] -> C^-1/2, symmetric, so that C^-1/2 C C^-1/2 = I. Directions of (almost) no
    variance are not blown up beyond 1e-6 of the largest."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.clamp_min(1e-6 * values[-1]).rsqrt()) @ vectors.T


def discriminant(
    states: Tensor, index: Tensor, count: int, covariance: Tensor, directions: int = DIRECTIONS
) -> Tensor:
    """C^-1/2 V of the module docstring, [d, q] float64. states [N, d]; index [N]: the group of
    each, 0..count-1."""
    whiten = whitener(covariance)
    sizes = index.bincount(minlength=count).double()
    means = group_means(states.double() @ whiten, index, count)
    centred = (means - (sizes[:, None] * means).sum(0) / sizes.sum()) * sizes.sqrt()[:, None]
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return whiten @ vectors[:, -min(directions, count - 1, len(vectors)) :]


def threshold(negatives: Tensor, forget: Tensor) -> float:
    """tau = min(99.5 % quantile of the scores of held-out negatives, 1 % quantile of the scores of
    plain forget questions); a score is minus a distance, the highest of a prompt's tokens. So at
    most .5 % of the negatives fire, unless fewer than 99 % of the forget questions would."""
    by_negatives = torch.quantile(negatives.double(), NEGATIVE_QUANTILE, interpolation="higher")
    return float(
        min(by_negatives, torch.quantile(forget.double(), FORGET_QUANTILE, interpolation="lower"))
    )


class MetricGate(nn.Module):
    """G(h) of the module docstring, as numbers that are kept with an adapter: whiten = C^-1/2 V [d,
    q], centroids [K, q], tau.

    `layer` is the decoder block whose output it reads."""

    def __init__(self, layer: int, whiten: Tensor, centroids: Tensor, tau: float):
        super().__init__()
        self.layer = layer
        for name, value in (
            ("whiten", whiten),
            ("centroids", centroids),
            ("tau", torch.tensor(float(tau))),
        ):
            self.register_buffer(name, value.float().clone())

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "MetricGate | None":
        """The gate in an adapter's file, where its numbers are door.<layer>.<name>; None where
        there is none."""
        mine = {
            key.split(".")[2]: value for key, value in tensors.items() if key.startswith("door.")
        }
        if not mine:
            return None
        layer = next(int(key.split(".")[1]) for key in tensors if key.startswith("door."))
        return cls(layer, mine["whiten"], mine["centroids"], float(mine["tau"]))

    def distances(self, h: Tensor) -> Tensor:
        """h [..., d] -> [...] float32: to the nearest centroid, in standard deviations within a
        group."""
        whitened = h.float().flatten(0, -2) @ self.whiten
        return (
            torch.cdist(whitened, self.centroids, compute_mode="donot_use_mm_for_euclid_dist")
            .amin(-1)
            .view(h.shape[:-1])
        )

    def forward(self, h: Tensor) -> Tensor:
        """h [..., d] -> gate logits [...] float32, above 0 where it fires."""
        return self.tau - self.distances(h)


def fit(layer: int, states: Tensor, groups: Sequence, forget: Sequence) -> MetricGate:
    """The gate whose centroids are the groups named in `forget`, with tau still 0: its logits are
    then the scores that `threshold` reads."""
    keys = {key: place for place, key in enumerate(dict.fromkeys(groups))}
    index = torch.tensor([keys[key] for key in groups])
    whiten = discriminant(states, index, len(keys), within_covariance(states, groups))
    return MetricGate(
        layer,
        whiten,
        group_means(states.double() @ whiten, index, len(keys))[[keys[key] for key in forget]],
        0.0,
    )
