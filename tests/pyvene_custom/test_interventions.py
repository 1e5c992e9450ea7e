"""The gated LoReFT edit: its equation, its precision, what it refuses."""

import copy

import pytest
import pyvene
import torch

import pyvene_custom as pv
from tests.pyvene_custom.edit_cases import D, R, build_base, build_intervention, draw, train_edit


def test_fork_offers_pyvenes_names():
    names = {name for name in vars(pyvene) if not name.startswith("_")} - {
        "models",
        "data_generators",
    }
    assert names <= set(vars(pv)) and pv.RepresentationConfig is pyvene.RepresentationConfig
    assert pv.IntervenableModel.__mro__[1] is pyvene.IntervenableModel


@pytest.mark.parametrize(
    "gate, count", [*zip([None, *pv.GATES], [32_772, 36_869, 1_098_117, 4_900_741])]
)
def test_parameter_counts_at_llama_8b_width(gate, count):
    """2 d r + r = 2*4096*4 + 4 = 32,772; linear gate +4,097; mlp_3 +1,065,345; mlp_5 +4,867,969."""
    with torch.device("meta"):
        module = pv.LoreftIntervention(4096, 4, gate=gate)
    assert sum(p.numel() for p in module.parameters()) == count


def test_unknown_choices_are_errors():
    with pytest.raises(ValueError, match="mlp_4.*linear, mlp_3, mlp_5"):
        pv.Gate("mlp_4", D)
    with pytest.raises(ValueError, match="between 1 and the hidden size 32"):
        pv.LoreftIntervention(D, 33)
    with pytest.raises(TypeError, match="dtype"):
        pv.GatedLoreftIntervention(D, R, dtype=torch.bfloat16)
    for edits in (
        {1: build_intervention(), 4: build_intervention()},
        {-1: build_intervention()},
        {},
    ):
        with pytest.raises(ValueError, match="between 0 and 3"):
            pv.gated_config(build_base(), edits)


@pytest.mark.parametrize("gate", [None, *pv.GATES])
def test_edit_is_the_equation(gate):
    """h' = h + g R (W h + b - R^T h), term by term from the stored state dict; R^T h' = (1-g) R^T h
    + g (W h + b).
    """
    module = build_intervention(gate)
    train_edit(module)
    h = draw(3, 5, D)
    state = module.state_dict()
    edited, logits = module.edit(h)
    q = state["rotate_layer"]
    target = h @ state["weight"].T + state["bias"]
    g = torch.ones(3, 5, 1) if gate is None else torch.sigmoid(logits)[..., None]
    torch.testing.assert_close(edited, h + g * ((target - h @ q) @ q.T), atol=1e-5, rtol=0)
    torch.testing.assert_close(edited @ q, (1 - g) * (h @ q) + g * target, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        edited - edited @ q @ q.T, h - h @ q @ q.T, atol=1e-5, rtol=0
    )  # outside R: untouched
    torch.testing.assert_close(module.edit(h, module.rotation())[0], edited, atol=0, rtol=0)
    assert (logits is None) == (gate is None)


def test_edit_is_zero_where_the_subspace_is_on_target():
    """W = R^T and b = 0 give phi(h) = R (R^T h - R^T h) = 0."""
    module = build_intervention(None)
    module.learned_source.weight.data = module.rotation().T.detach()
    module.learned_source.bias.data.zero_()
    torch.testing.assert_close(module.edit(draw(7, D))[0], draw(7, D), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shut_gate_is_bit_exact(dtype):
    """sigmoid(-200) underflows to 0 in float32, so h' is h in every bit."""
    h = draw(7, D).to(dtype)
    edited, logits = build_intervention(gate_bias=-200.0).edit(h)
    assert torch.equal(edited, h) and edited.dtype == dtype
    assert logits.dtype == torch.float32 and logits.shape == (7,)


def test_bfloat16_rounds_the_gate_as_upstream():
    """W, b and the gate in bf16, R in fp32: g = bf16(sigmoid(bf16 logit)), exactly 1 at logit 9,
    as in renjie3/GRUN, pyreft/interventions.py.
    """
    module = build_intervention(compute_dtype=torch.bfloat16, gate_bias=9.0)
    torch.nn.init.zeros_(module.gate.gate_func.weight)
    assert (
        {p.dtype for p in module.gate.parameters()}
        == {module.learned_source.weight.dtype}
        == {torch.bfloat16}
    )
    edited, logits = module.edit(draw(2, D))
    assert module.rotation().dtype == edited.dtype == torch.float32 and logits.tolist() == [
        9.0,
        9.0,
    ]
    target = module.learned_source(draw(2, D).bfloat16())
    torch.testing.assert_close(edited @ module.rotation(), target.float(), atol=1e-5, rtol=0)


def test_autocast_leaves_the_edit_in_float32():
    module = build_intervention()
    h = draw(4, D)
    with torch.autocast("cpu", torch.bfloat16):
        inside = module.edit(h)
    torch.testing.assert_close(inside, module.edit(h), atol=0, rtol=0)


def test_float64_is_computed_in_float64():
    module = build_intervention("mlp_3")
    h = draw(4, D)
    exact, logits = copy.deepcopy(module).double().edit(h.double())
    assert exact.dtype == logits.dtype == torch.float64
    torch.testing.assert_close(exact.float(), module.edit(h)[0], atol=1e-5, rtol=0)


def test_dropout_acts_on_phi_only():
    """p = 1 drops all of phi and none of h; in evaluation mode nothing is dropped."""
    module = build_intervention(dropout=1.0)
    h = draw(4, D)
    assert torch.equal(module.edit(h)[0], h)
    assert not torch.equal(module.eval().edit(h)[0], h)
