"""A linear probe in front of refusals.

It refuses where w . h + b > threshold, with h [d] the output of one decoder layer at the last token
of the prompt. w and b are a logistic regression on standardised states of forget (1) and retain (0)
questions, both classes weighted equally. The threshold is a quantile of w . h + b on retain
questions, each from a probe that was fitted without that question (cross-validation).
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from baselines.guards.base import FilterInputs, InputFilter, input_filter
from unlearn.benchmarks.examples import Example
from unlearn.language_model.architecture import check_layers, find_decoder_layers
from unlearn.language_model.hidden_states import compute_states, right_pad
from unlearn.language_model.prompts import PromptEncoder

BATCH = 64
FOLDS = 5


@input_filter("probe")
@dataclass
class LinearProbe(InputFilter):
    """Refuses where w . h + bias > threshold; weight [d] float32 is w."""

    layer: int
    bias: float
    threshold: float
    weight: Tensor

    @classmethod
    def fit(cls, inputs: FilterInputs) -> tuple["LinearProbe", dict]:
        """Fit the probe on the states of all forget and retain questions."""
        model, prompt_encoder = inputs.load_target()
        depth = len(find_decoder_layers(model))
        (layer,) = check_layers([depth // 2 if inputs.layer is None else inputs.layer], depth)
        examples = [*inputs.forget, *inputs.retain]
        x = question_states(model, layer, examples, prompt_encoder)
        y = np.array([1] * len(inputs.forget) + [0] * len(inputs.retain))
        weight, bias, held_out_values = fit_probe(x, y, inputs.seed)
        threshold = float(np.quantile(held_out_values[y == 0], inputs.quantile))
        refused = x @ weight + bias > threshold
        result = {
            "layer": layer,
            "threshold": threshold,
            "forget_fired": float(refused[y == 1].mean()),
            "retain_fired": float(refused[y == 0].mean()),
            "trainable_params": len(weight) + 1,
        }
        w = torch.tensor(weight, dtype=torch.float32)
        return cls(inputs.refusals, layer, bias, threshold, w), result

    def is_refused(self, model: nn.Module, tokenizer, prompts: list[list[int]]) -> Tensor:
        h = last_states(model, self.layer, prompts, tokenizer.pad_token_id)
        return h @ self.weight.to(h.device) + self.bias > self.threshold


def fit_probe(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, float, np.ndarray]:
    """w [d], b, and w . h + b [n] of each row of x [n, d] under a probe fitted without it.

    Raises `ValueError` where a side has one row: it cannot be fitted without it."""
    fewest = int(min(y.sum(), (1 - y).sum()))
    if fewest < 2:
        raise ValueError(
            "a probe needs two questions to forget and two to keep, to be tested on some that it "
            "was not fitted on; take --control keyword, or more rows"
        )
    scaler = StandardScaler()
    regression = LogisticRegression(class_weight="balanced", max_iter=2000)
    probe = make_pipeline(scaler, regression)
    folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    held_out_values = cross_val_predict(probe, x, y, cv=folds, method="decision_function")
    probe.fit(x, y)
    # w . (h - mean) / scale + b, as one linear function of h
    weight = regression.coef_[0] / scaler.scale_
    bias = float(regression.intercept_[0] - weight @ scaler.mean_)
    return weight, bias, held_out_values


def question_states(
    model: nn.Module, layer: int, examples: list[Example], prompt_encoder: PromptEncoder
) -> np.ndarray:
    """[n, d] float32: `last_states` of the examples' questions, in batches."""
    prompts = [prompt_encoder.prompt_ids(e.question) for e in examples]
    pad_id = prompt_encoder.tokenizer.pad_token_id
    batches = [prompts[i : i + BATCH] for i in range(0, len(prompts), BATCH)]
    return torch.cat([last_states(model, layer, b, pad_id) for b in batches]).cpu().numpy()


@torch.no_grad()
def last_states(model: nn.Module, layer: int, prompts: list[list[int]], pad_id: int) -> Tensor:
    """[B, d] float32: the output of decoder layer `layer` at each prompt's last token."""
    ids, mask = right_pad(prompts, pad_id, next(model.parameters()).device)
    rows = torch.arange(len(prompts), device=ids.device)
    return compute_states(model, layer, ids, mask)[rows, mask.sum(1) - 1].float()
