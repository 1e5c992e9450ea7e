"""Our IntervenableModel against hooks written by hand, on four architectures."""

import pytest
import torch

import pyvene_custom as pv
from tests.pyvene_custom.edit_cases import (
    FAMILIES,
    LAYERS,
    build_base,
    build_intervention,
    decoder_layers,
)


def build_intervened(model, gate="linear"):
    edits = {layer: build_intervention(gate, seed=layer) for layer in LAYERS[::-1]}
    return pv.IntervenableModel(pv.gated_config(model, edits), model)


def edit_by_hand(model, config, ids, mask, positions):
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
def test_model_equals_hand_written_hooks(family, batch):
    """Per-example positions, right padding: equal logits, gates and gradients; earlier positions
    untouched.
    """
    ids, mask, positions = batch
    model = build_base(family)
    intervenable = build_intervened(model)
    inputs = {"input_ids": ids, "attention_mask": mask}
    parameters = intervenable.get_trainable_parameters()
    plain, out = intervenable(
        inputs, unit_locations=intervenable.locations(positions), output_original_output=True
    )
    expected, gates = edit_by_hand(model, intervenable.config, ids, mask, positions)
    torch.testing.assert_close(out.logits, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(intervenable.gates, gates, atol=0, rtol=0)
    assert gates.shape == (2, 3) and gates.dtype == torch.float32
    for row, position in enumerate(positions):
        assert torch.equal(out.logits[row, :position], plain.logits[row, :position])
        assert (out.logits[row, position] - plain.logits[row, position]).abs().max() > 1e-2
    ours = torch.autograd.grad(out.logits.square().mean() + intervenable.gates.mean(), parameters)
    by_hand = torch.autograd.grad(expected.square().mean() + gates.mean(), parameters)
    torch.testing.assert_close(ours, by_hand, atol=1e-6, rtol=1e-4)


def test_gates_come_in_depth_order(batch):
    """Configured as layers 3, 1 with constant gate logits 3 and 1, the gates are still [1, 3]."""
    ids, mask, positions = batch
    model = build_base()
    edits = {layer: build_intervention(gate_bias=layer) for layer in LAYERS}
    for edit in edits.values():
        torch.nn.init.zeros_(edit.gate.gate_func.weight)
    config = pv.IntervenableConfig(pv.gated_config(model, edits).representations[::-1])
    intervenable = pv.IntervenableModel(config, model)
    assert intervenable.gates is None
    intervenable(
        {"input_ids": ids, "attention_mask": mask}, unit_locations=intervenable.locations(positions)
    )
    assert intervenable.gates.tolist() == [[1.0] * 3, [3.0] * 3]


def test_shared_position_does_not_stick(batch):
    """pyvene keeps use_fast on after {"base": 2}; the next call must follow each example's own
    position again.
    """
    ids, _, positions = batch
    intervenable = build_intervened(build_base())
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
    own only.
    """
    model = build_base()
    seen = []
    intervenable = build_intervened(model)
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
    token by token.
    """
    ids, mask, _ = batch
    lengths = mask.sum(1)
    intervenable = build_intervened(build_base())
    left, left_mask = (
        torch.stack([row.roll(7 - int(n)) for row, n in zip(x, lengths)]) for x in (ids, mask)
    )
    intervenable({"input_ids": ids}, unit_locations={"base": 0})  # whose gates must not remain
    options = dict(
        unit_locations={"base": 6},
        max_new_tokens=3,
        do_sample=False,
        pad_token_id=2,
        eos_token_id=None,
    )
    _, generated = intervenable.generate(
        {"input_ids": left, "attention_mask": left_mask}, **options
    )
    gates = intervenable.gates
    for row, n in enumerate(lengths):
        text = ids[row, :n]
        for _ in range(3):
            _, out = intervenable(
                {"input_ids": text[None]}, unit_locations=intervenable.locations([n - 1])
            )
            torch.testing.assert_close(intervenable.gates[:, 0], gates[:, row], atol=1e-5, rtol=0)
            text = torch.cat([text, out.logits[0, -1].argmax()[None]])
        assert text[n:].tolist() == generated[row, 7:].tolist()


def test_ungated_edits_report_no_gates(batch):
    intervenable = build_intervened(build_base(), gate=None)
    intervenable({"input_ids": batch[0]}, unit_locations=intervenable.locations(batch[2]))
    assert intervenable.gates is None
    assert intervenable.eval() is intervenable and not any(
        m.training for m in intervenable.interventions.modules()
    )
