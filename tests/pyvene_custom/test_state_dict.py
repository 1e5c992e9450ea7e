"""State dicts of the edit: the authors' names, exact round trips, training that goes on."""

import copy

import pytest
import torch

import pyvene_custom as pv
from tests.pyvene_custom.edit_cases import (
    D,
    R,
    build_intervention,
    draw,
    orthonormality_error,
    train_edit,
)


@pytest.mark.parametrize("gate", [None, *pv.GATES])
def test_state_dict_round_trip_is_exact_and_trains_on(gate):
    first = build_intervention(gate)
    second = copy.deepcopy(build_intervention(gate, seed=1))
    train_edit(first)
    state = first.state_dict()
    layers = {
        None: [],
        "linear": [""],
        "mlp_3": ["0.", "2.", "4."],
        "mlp_5": ["0.", "2.", "4.", "6.", "8."],
    }[gate]
    gate_keys = {f"gate_func.{layer}{part}" for layer in layers for part in ("weight", "bias")}
    assert set(state) == {"weight", "bias", "rotate_layer"} | gate_keys
    assert state["weight"].shape == (R, D) and state["rotate_layer"].shape == (D, R)
    before = torch.get_rng_state()
    second.load_state_dict(state)
    assert torch.equal(torch.get_rng_state(), before)  # loading draws no random numbers
    assert all(torch.equal(state[key], value) for key, value in second.state_dict().items())
    assert torch.equal(second.edit(draw(3, D))[0], first.edit(draw(3, D))[0])
    train_edit(second, seed=9)
    assert (
        not torch.equal(second.rotation(), state["rotate_layer"])
        and orthonormality_error(second.rotation()) < 1e-5
    )


def test_raw_names_resume_training_exactly():
    """named_parameters and named_buffers carry the raw coordinates over, so the same 20 steps give
    the same bits.
    """
    first = build_intervention()
    second = build_intervention(seed=1)
    train_edit(first)
    second.load_state_dict({**dict(first.named_parameters()), **dict(first.named_buffers())})
    train_edit(first)
    train_edit(second)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_state_dict_in_a_container_and_its_errors():
    pair, other = (
        torch.nn.ModuleList([build_intervention(seed=seed), build_intervention("mlp_3", seed=seed)])
        for seed in (0, 4)
    )
    other.load_state_dict(pair.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(pair.state_dict().values(), other.state_dict().values())
    )
    with pytest.raises(RuntimeError, match="gate_func.4.weight"):
        build_intervention("mlp_3").load_state_dict(build_intervention("linear").state_dict())
    with pytest.raises(ValueError, match=r"\(16, 4\).*\(32, 4\)"):
        build_intervention().load_state_dict(build_intervention(d=16).state_dict())


def test_weight_decay_destroys_the_rotation():
    """The pitfall in the module docstring: the diagonal -1 decays to -0.9999, int(-0.9999) = 0, R =
    0.
    """
    module = build_intervention()
    train_edit(module, steps=1, weight_decay=0.01)
    assert module.rotation().abs().max() == 0
