"""The GRUN edit (spec 3.1, 3.3, 10) and our IntervenableModel: python -m pytest
tests/test_pyvene_custom.py"""

import copy

import pytest
import pyvene
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen3Config

import pyvene_custom as pv

D = 32
R = 4
LAYERS = [1, 3]
TOKENS = dict(vocab_size=64, bos_token_id=1, eos_token_id=2, initializer_range=0.3)
SIZES = dict(
    hidden_size=D,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
)
FAMILIES = {
    "llama": LlamaConfig(**TOKENS, **SIZES),
    "mistral": MistralConfig(**TOKENS, **SIZES),
    "gpt2": GPT2Config(**TOKENS, n_embd=D, n_layer=4, n_head=4),
    "qwen3": Qwen3Config(
        **TOKENS, **SIZES, head_dim=8
    ),  # not in pyvene's table: found by its list of blocks
}


def base_model(family="llama"):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(FAMILIES[family]).eval()


def decoder_layers(model):
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(gate="linear", d=D, seed=0, **options):
    torch.manual_seed(seed)
    return pv.LoreftIntervention(d, R, gate=gate, **options)


def skew(rotation):
    return (rotation.T @ rotation - torch.eye(rotation.shape[1])).abs().max().item()


def train(module, steps=20, weight_decay=0.0, seed=5):
    """AdamW pulls h' towards random targets, so that R, W, b and the gate all move."""
    h = draw(16, D, seed=seed)
    target = draw(16, D, seed=seed + 1)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=weight_decay)
    for _ in range(steps):
        optimizer.zero_grad()
        (module.edit(h)[0] - target).square().mean().backward()
        optimizer.step()


def test_offers_pyvene_with_our_model_in_place():
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
    """2 d r + r = 2*4096*4 + 4 = 32,772; linear gate +4,097; mlp_3 +1,065,345; mlp_5 +4,867,969
    (spec 3.1)."""
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
    for edits in ({1: unit(), 4: unit()}, {-1: unit()}, {}):
        with pytest.raises(ValueError, match="between 0 and 3"):
            pv.gated_config(base_model(), edits)


@pytest.mark.parametrize("gate", [None, *pv.GATES])
def test_edit_is_the_equation(gate):
    """h' = h + g R (W h + b - R^T h), term by term from the stored state dict; R^T h' = (1-g) R^T h
    + g (W h + b)."""
    module = unit(gate)
    train(module)
    h = draw(3, 5, D)
    state = module.state_dict()
    edited, logits = module.edit(h)
    q = state["rotate_layer"]
    wanted = h @ state["weight"].T + state["bias"]
    g = torch.ones(3, 5, 1) if gate is None else torch.sigmoid(logits)[..., None]
    torch.testing.assert_close(edited, h + g * ((wanted - h @ q) @ q.T), atol=1e-5, rtol=0)
    torch.testing.assert_close(edited @ q, (1 - g) * (h @ q) + g * wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        edited - edited @ q @ q.T, h - h @ q @ q.T, atol=1e-5, rtol=0
    )  # outside R: untouched
    torch.testing.assert_close(module.edit(h, module.rotation())[0], edited, atol=0, rtol=0)
    assert (logits is None) == (gate is None)


def test_edit_changes_nothing_where_the_subspace_is_as_wanted():
    """W = R^T and b = 0 give phi(h) = R (R^T h - R^T h) = 0."""
    module = unit(None)
    module.learned_source.weight.data = module.rotation().T.detach()
    module.learned_source.bias.data.zero_()
    torch.testing.assert_close(module.edit(draw(7, D))[0], draw(7, D), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shut_gate_is_bit_exact(dtype):
    """sigmoid(-200) underflows to 0 in float32, so h' is h in every bit."""
    h = draw(7, D).to(dtype)
    edited, logits = unit(gate_bias=-200.0).edit(h)
    assert torch.equal(edited, h) and edited.dtype == dtype
    assert logits.dtype == torch.float32 and logits.shape == (7,)


def test_bfloat16_parity_rounds_the_gate_as_the_authors_do():
    """W, b and the gate in bf16, R in fp32: g = bf16(sigmoid(bf16 logit)), exactly 1 at logit 9
    (spec 4.2)."""
    module = unit(compute_dtype=torch.bfloat16, gate_bias=9.0)
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
    wanted = module.learned_source(draw(2, D).bfloat16())
    torch.testing.assert_close(edited @ module.rotation(), wanted.float(), atol=1e-5, rtol=0)


def test_autocast_leaves_the_edit_in_float32():
    module = unit()
    h = draw(4, D)
    with torch.autocast("cpu", torch.bfloat16):
        inside = module.edit(h)
    torch.testing.assert_close(inside, module.edit(h), atol=0, rtol=0)


def test_float64_is_computed_in_float64():
    module = unit("mlp_3")
    h = draw(4, D)
    exact, logits = copy.deepcopy(module).double().edit(h.double())
    assert exact.dtype == logits.dtype == torch.float64
    torch.testing.assert_close(exact.float(), module.edit(h)[0], atol=1e-5, rtol=0)


def test_dropout_acts_on_phi_only():
    """p = 1 drops all of phi and none of h; in evaluation mode nothing is dropped."""
    module = unit(dropout=1.0)
    h = draw(4, D)
    assert torch.equal(module.edit(h)[0], h)
    assert not torch.equal(module.eval().edit(h)[0], h)


@pytest.mark.parametrize("gate", [None, *pv.GATES])
def test_state_dict_round_trip_is_bit_exact_and_trains_on(gate):
    first = unit(gate)
    second = copy.deepcopy(unit(gate, seed=1))
    train(first)
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
    train(second, seed=9)
    assert (
        not torch.equal(second.rotation(), state["rotate_layer"]) and skew(second.rotation()) < 1e-5
    )


def test_raw_names_resume_training_exactly():
    """named_parameters and named_buffers carry the raw coordinates over, so the same 20 steps give
    the same bits."""
    first = unit()
    second = unit(seed=1)
    train(first)
    second.load_state_dict({**dict(first.named_parameters()), **dict(first.named_buffers())})
    train(first)
    train(second)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_state_dict_works_inside_a_container_and_names_what_is_wrong():
    pair, other = (
        torch.nn.ModuleList([unit(seed=seed), unit("mlp_3", seed=seed)]) for seed in (0, 4)
    )
    other.load_state_dict(pair.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(pair.state_dict().values(), other.state_dict().values())
    )
    with pytest.raises(RuntimeError, match="gate_func.4.weight"):
        unit("mlp_3").load_state_dict(unit("linear").state_dict())
    with pytest.raises(ValueError, match=r"\(16, 4\).*\(32, 4\)"):
        unit().load_state_dict(unit(d=16).state_dict())


def test_weight_decay_destroys_the_rotation():
    """The pitfall in the module docstring: the diagonal -1 decays to -0.9999, int(-0.9999) = 0, R =
    0."""
    module = unit()
    train(module, steps=1, weight_decay=0.01)
    assert module.rotation().abs().max() == 0


def intervened(model, gate="linear"):
    edits = {layer: unit(gate, seed=layer) for layer in LAYERS[::-1]}
    return pv.IntervenableModel(pv.gated_config(model, edits), model)


def hooked(model, config, ids, mask, positions):
    """The same edit by hand-written hooks: logits, and the gates [layers, B]."""
    rows = torch.arange(len(ids))
    gates = []
    handles = []
    for representation in config.representations:

        def hook(_module, _args, output, module=representation.intervention):
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            edited, logits = module.edit(hidden[rows, positions])
            gates.append(logits)
            hidden = hidden.index_put((rows, positions), edited)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles.append(decoder_layers(model)[representation.layer].register_forward_hook(hook))
    logits = model(input_ids=ids, attention_mask=mask).logits
    for handle in handles:
        handle.remove()
    return logits, torch.stack(gates)


@pytest.fixture
def batch():
    """ids [3,7], attention mask of texts of 7, 5 and 6 tokens, and the position to edit in each."""
    ids = torch.randint(3, 64, (3, 7), generator=torch.Generator().manual_seed(1))
    return ids, (torch.arange(7) < torch.tensor([[7], [5], [6]])).long(), torch.tensor([4, 2, 3])


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_a_hand_written_hook_with_gradients(family, batch):
    """Per-example positions, right padding: equal logits, gates and gradients; earlier positions
    untouched."""
    ids, mask, positions = batch
    model = base_model(family)
    intervenable = intervened(model)
    inputs = {"input_ids": ids, "attention_mask": mask}
    parameters = intervenable.get_trainable_parameters()
    plain, out = intervenable(
        inputs, unit_locations=intervenable.locations(positions), output_original_output=True
    )
    wanted, gates = hooked(model, intervenable.config, ids, mask, positions)
    torch.testing.assert_close(out.logits, wanted, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(intervenable.gates, gates, atol=0, rtol=0)
    assert gates.shape == (2, 3) and gates.dtype == torch.float32
    for row, position in enumerate(positions):
        assert torch.equal(out.logits[row, :position], plain.logits[row, :position])
        assert (out.logits[row, position] - plain.logits[row, position]).abs().max() > 1e-2
    ours = torch.autograd.grad(out.logits.square().mean() + intervenable.gates.mean(), parameters)
    by_hand = torch.autograd.grad(wanted.square().mean() + gates.mean(), parameters)
    torch.testing.assert_close(ours, by_hand, atol=1e-6, rtol=1e-4)


def test_gates_come_in_depth_order(batch):
    """Configured as layers 3, 1 with constant gate logits 3 and 1, the gates are still [1, 3]."""
    ids, mask, positions = batch
    model = base_model()
    edits = {layer: unit(gate_bias=layer) for layer in LAYERS}
    for edit in edits.values():
        torch.nn.init.zeros_(edit.gate.gate_func.weight)
    config = pv.IntervenableConfig(pv.gated_config(model, edits).representations[::-1])
    intervenable = pv.IntervenableModel(config, model)
    assert intervenable.gates is None
    intervenable(
        {"input_ids": ids, "attention_mask": mask}, unit_locations=intervenable.locations(positions)
    )
    assert intervenable.gates.tolist() == [[1.0] * 3, [3.0] * 3]


def test_a_shared_position_does_not_stick(batch):
    """pyvene keeps use_fast on after {"base": 2}; the next call must follow each example's own
    position again."""
    ids, _, positions = batch
    intervenable = intervened(base_model())
    places = [intervenable.locations(positions), {"base": 2}, intervenable.locations(positions)]
    first, shared, again = (
        intervenable({"input_ids": ids}, unit_locations=place)[1].logits for place in places
    )
    assert (
        torch.equal(first, again)
        and torch.equal(shared[1], first[1])
        and not torch.equal(shared[0], first[0])
    )


def test_other_hooks_survive(batch):
    """pyvene strips every hook of the model, its hidden_states hooks among them; ours takes off its
    own only."""
    model = base_model()
    seen = []
    intervenable = intervened(model)
    decoder_layers(model)[0].register_forward_hook(lambda *_: seen.append(1))
    before = model(batch[0], output_hidden_states=True)
    with pytest.raises(RuntimeError):  # a position beyond the text fails inside the forward
        intervenable({"input_ids": batch[0]}, unit_locations=intervenable.locations([9, 9, 9]))
    intervenable({"input_ids": batch[0]}, unit_locations=intervenable.locations(batch[2]))
    after = model(batch[0], output_hidden_states=True)
    assert (
        len(seen) == 4
        and len(after.hidden_states) == 5
        and torch.equal(after.logits, before.logits)
    )


def test_generation_edits_the_prefill_only(batch):
    """Left-padded generate edited at its last column = unpadded forwards edited at prompt_len - 1,
    token by token."""
    ids, mask, _ = batch
    lengths = mask.sum(1)
    intervenable = intervened(base_model())
    left, left_mask = (
        torch.stack([row.roll(7 - int(n)) for row, n in zip(x, lengths)]) for x in (ids, mask)
    )
    intervenable({"input_ids": ids}, unit_locations={"base": 0})  # leaves gates of its own behind
    options = dict(
        unit_locations={"base": 6},
        max_new_tokens=3,
        do_sample=False,
        pad_token_id=2,
        eos_token_id=None,
    )
    _, said = intervenable.generate({"input_ids": left, "attention_mask": left_mask}, **options)
    gates = intervenable.gates
    for row, n in enumerate(lengths):
        text = ids[row, :n]
        for _ in range(3):
            _, out = intervenable(
                {"input_ids": text[None]}, unit_locations=intervenable.locations([n - 1])
            )
            torch.testing.assert_close(intervenable.gates[:, 0], gates[:, row], atol=1e-5, rtol=0)
            text = torch.cat([text, out.logits[0, -1].argmax()[None]])
        assert text[n:].tolist() == said[row, 7:].tolist()


def test_ungated_edits_report_no_gates_and_eval_reaches_the_edits(batch):
    intervenable = intervened(base_model(), gate=None)
    intervenable({"input_ids": batch[0]}, unit_locations=intervenable.locations(batch[2]))
    assert intervenable.gates is None
    assert intervenable.eval() is intervenable and not any(
        m.training for m in intervenable.interventions.modules()
    )
