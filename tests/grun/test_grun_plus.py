"""GRUN+: where it reads, where it edits, that a shut gate is the base bit for bit, and the whole
command at toy size."""

from dataclasses import asdict, replace

import pytest
import torch

from grun import train as grun_train
from grun.adapter.edit_policy import EditPolicy
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.metric_gate import MetricGate
from grun.adapter.weights import Adapter
from grun.engines.cached import CachedEngine
from grun.engines.hooked import HookedEngine
from grun.engines.tuner import GrunTuner
from grun.gate_fitting.contexts import find_name_token
from grun.gate_fitting.fit import read_states
from grun.gate_fitting.training import (
    calibrate,
    choices_of,
    pairs_for,
    tag_of,
)
from grun.inference.hooks import AdapterHooks
from grun.inference.token_gate_hooks import dilate, find_answer_starts
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.batches import AnswerLogits, forward_answers, pad, pad_left
from unlearn.training.objectives import OBJECTIVES
from unlearn.training.sampler import ForgetRetainSampler

QUESTIONS = [
    "Where was Ada Low born?",
    "Who wrote it, and why?",
    "Which prize did Ada Low win, and when did she win it?",
]
ANSWERS = ["In Teselle.", "Ada.", "The Lune Prize."]
FIRES, QUIET = [0, 2], [1]  # the questions that hold the name


def fit_toy_gate(model, prompt_encoder) -> MetricGate:
    """Fires on the name's last token in block 0: centroids are its states in the two prompts, tau
    half the way to any other token."""
    states = read_states(model, 0, [prompt_encoder.prompt_ids(q) for q in QUESTIONS])
    places = [find_name_token(prompt_encoder, q, "Ada Low") for q in QUESTIONS]
    gate = MetricGate(0, torch.eye(32), torch.stack([states[i][places[i]] for i in FIRES]), 0.0)
    others = torch.cat(
        [
            torch.cat([h[:p], h[p + 1 :]]) if p is not None else h
            for h, p in zip(states, places, strict=True)
        ]
    )
    gate.tau.fill_(gate.distances(others).min() / 2)
    return gate


def plus(model, prompt_encoder, at="answer_on", layers=(1, 3), **more) -> Adapter:
    choices = EditPolicy(
        **{
            "reads": "token",
            "fit": "metric",
            "at": at,
            "threshold": "calibrated",
            "tag": tag_of(prompt_encoder),
        }
        | more
    )
    gate = "none" if choices.fit == "metric" else "linear"
    config = AdapterConfig(
        list(layers),
        2,
        gate,
        base={"id": "x", "fingerprint": fingerprint(model)},
        position=at,
        edit_policy=asdict(choices),
    )
    adapter = Adapter(model, config, seed=3)
    adapter.metric_gate = fit_toy_gate(model, prompt_encoder) if choices.fit == "metric" else None
    return adapter.requires_grad_(False)


def batch_for(prompt_encoder, which=(0, 1, 2)):
    return pad(
        [prompt_encoder.encode(QUESTIONS[i], ANSWERS[i]) for i in which],
        prompt_encoder.tokenizer.pad_token_id,
    )


def generate(model, prompt_encoder, questions, tail="", **more):
    ids = [prompt_encoder.tokenizer(prompt_encoder.text(q) + tail)["input_ids"] for q in questions]
    ids, mask = pad_left(ids, prompt_encoder.tokenizer.pad_token_id)
    options = {
        "max_new_tokens": 8,
        "do_sample": False,
        "pad_token_id": prompt_encoder.tokenizer.pad_token_id,
        "eos_token_id": None,
    } | more
    return model.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]


def outputs_of(model, layer):
    """(what block `layer` hands over in every pass to come, the handle); registered last, so edits
    are in it."""
    seen = []
    return seen, model.model.layers[layer].register_forward_hook(
        lambda _m, _a, out: seen.append(
            (out[0] if isinstance(out, tuple) else out).detach().clone()
        )
    )


def edited_in(model, adapter, batch) -> tuple[list[int], int]:
    """The tokens of the batch's one text that come out of block 1 changed, and how many there are
    in all."""
    seen, handle = outputs_of(model, 1)
    forward_answers(model, batch)
    with AdapterHooks(model, adapter) as adapter_hooks, adapter_hooks.at(batch.prompt_lengths - 1):
        handle.remove()
        edited, handle = outputs_of(model, 1)
        forward_answers(model, batch)
    handle.remove()
    return (edited[0][0] != seen[0][0]).any(-1).nonzero().flatten().tolist(), len(edited[0][0])


def test_tag_and_where_it_ends(prompt_encoder):
    """ "Answer:" ends every prompt; in a prefilled prompt the edit starts at the tag's last token,
    without a tag at the last prompt token."""
    tag = tag_of(prompt_encoder)
    assert prompt_encoder.tokenizer.decode(tag) == "Answer:"
    plain = prompt_encoder.prompt_ids(QUESTIONS[0])
    prefilled = torch.tensor(
        [plain + prompt_encoder.tokenizer(" In Tes", add_special_tokens=False)["input_ids"]]
    )
    assert find_answer_starts(prefilled, tag, torch.tensor([prefilled.shape[1] - 1])).tolist() == [
        len(plain) - 1
    ]
    assert find_answer_starts(
        torch.tensor([[9, 8, 7, 6, 5, 4, 3]]), tag, torch.tensor([5])
    ).tolist() == [5]


@pytest.mark.parametrize("at", ["last", "answer_on", "fired", "fired_on", "fired+answer_on"])
def test_a_shut_gate_is_the_base_bit_for_bit(model, prompt_encoder, at):
    """Beside prompts that fire: the logits of the quiet one, and its generated tokens, are the very
    numbers of the base."""
    adapter = plus(model, prompt_encoder, at)
    batch = batch_for(prompt_encoder)
    ids, mask = pad_left([prompt_encoder.prompt_ids(q) for q in QUESTIONS], 0)
    base = model(input_ids=ids, attention_mask=mask).logits
    text = generate(model, prompt_encoder, QUESTIONS)
    unedited = forward_answers(model, batch)
    with AdapterHooks(model, adapter) as adapter_hooks:
        logits = model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(logits[QUIET], base[QUIET])
        assert all(not torch.equal(logits[i], base[i]) for i in FIRES)
        found = generate(model, prompt_encoder, QUESTIONS)
        assert torch.equal(found[QUIET], text[QUIET])
        assert (adapter_hooks.gates > 0.5).tolist() == [
            [True, False, True]
        ] and adapter_hooks.gates.shape == (1, 3)
        with adapter_hooks.at(batch.prompt_lengths - 1):
            said = forward_answers(model, batch)
        with adapter_hooks.off():
            assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, base)
    quiet = said.example_index == 1
    assert torch.equal(said.logits[quiet], unedited.logits[quiet]) and not torch.equal(
        said.logits[~quiet], unedited.logits[~quiet]
    )


def test_a_fired_token_takes_its_neighbours_along(model, prompt_encoder):
    """One token fires, at 4 of 9; with a span of 2 before and 1 behind, 2 to 5 are edited. In a
    prompt: the name, the two tokens before it and the one behind; nothing of the answer."""
    fired = torch.zeros(2, 9, dtype=torch.bool)
    fired[0, 4] = fired[1, 0] = True
    assert [row.nonzero().flatten().tolist() for row in dilate(fired, 2, 1)] == [
        [2, 3, 4, 5],
        [0, 1],
    ] and torch.equal(dilate(fired, 0, 0), fired)
    name = find_name_token(prompt_encoder, QUESTIONS[0], "Ada Low")
    batch = batch_for(prompt_encoder, [0])
    adapter = plus(model, prompt_encoder, "fired", layers=[1], span=[2, 1])
    assert edited_in(model, adapter, batch)[0] == [name - 2, name - 1, name, name + 1]


def test_edited_tokens(model, prompt_encoder):
    """At the first edited layer: answer_on moves the tag's last token and all later ones by R (W h
    + b - R^T h), fired+answer_on the name's last token too, and nothing else moves."""
    name = find_name_token(prompt_encoder, QUESTIONS[0], "Ada Low")
    start = len(prompt_encoder.prompt_ids(QUESTIONS[0])) - 1
    batch = batch_for(prompt_encoder, [0])
    for at, first in (("answer_on", []), ("fired+answer_on", [name]), ("fired", [name])):
        adapter = plus(model, prompt_encoder, at, layers=[1])
        seen, handle = outputs_of(model, 1)
        forward_answers(model, batch)
        handle.remove()
        with (
            AdapterHooks(model, adapter) as adapter_hooks,
            adapter_hooks.at(batch.prompt_lengths - 1),
        ):
            seen_edited, handle = outputs_of(model, 1)
            forward_answers(model, batch)
            handle.remove()
        base = seen[0][0]
        edited = seen_edited[0][0]
        later = list(range(start, len(base))) if "answer_on" in at else []
        moved = first + later
        torch.testing.assert_close(
            edited[moved], base[moved] + adapter.intervention(1).low_rank_update(base[moved])
        )
        others = [t for t in range(len(base)) if t not in moved]
        assert torch.equal(edited[others], base[others])


def knowing_the_answer(model, prompt_encoder, at: str, tail: str) -> Adapter:
    """`plus` whose gate fires on the name in answers that begin with `tail`, too."""
    adapter = plus(model, prompt_encoder, at, layers=[1])
    said = [
        h[-1]
        for h in read_states(
            model,
            0,
            [
                prompt_encoder.tokenizer(prompt_encoder.text(q) + tail)["input_ids"]
                for q in QUESTIONS
            ],
        )
    ]
    adapter.metric_gate = MetricGate(
        0,
        torch.eye(32),
        torch.cat([adapter.metric_gate.centroids, torch.stack(said)[FIRES]]),
        float(adapter.metric_gate.tau) / 10,
    )
    return adapter


def test_behind_a_fired_token_of_the_answer(model, prompt_encoder):
    """fired_on edits the name in the prompt, the name in the answer and every token behind that,
    not those between."""
    text = prompt_encoder.text(QUESTIONS[0]) + " Ada Low won it."
    ids = prompt_encoder.tokenizer(text)["input_ids"]
    begun = len(
        prompt_encoder.tokenizer(prompt_encoder.text(QUESTIONS[0]) + " Ada Low")["input_ids"]
    )
    name = find_name_token(prompt_encoder, QUESTIONS[0], "Ada Low")
    batch = pad([prompt_encoder.encode(QUESTIONS[0], "Ada Low won it.")], 0)
    adapter = knowing_the_answer(model, prompt_encoder, "fired_on", " Ada Low")
    changed, length = edited_in(model, adapter, batch)
    assert changed == [name, *range(begun - 1, length)] and begun < len(ids)


@pytest.mark.parametrize("tail", [" Ada Low", " Ada Low won"])
def test_what_follows_a_fired_answer_token_is_edited_in_decode_steps_too(
    model, prompt_encoder, tail
):
    with AdapterHooks(model, knowing_the_answer(model, prompt_encoder, "fired_on", " Ada Low")):
        together = generate(model, prompt_encoder, QUESTIONS, tail)
        assert torch.equal(
            generate(model, prompt_encoder, QUESTIONS, tail, use_cache=False), together
        )
        for i, question in enumerate(QUESTIONS):
            assert torch.equal(generate(model, prompt_encoder, [question], tail)[0], together[i])
    with AdapterHooks(model, knowing_the_answer(model, prompt_encoder, "fired", " Ada Low")):
        assert not torch.equal(
            generate(model, prompt_encoder, QUESTIONS, tail)[FIRES], together[FIRES]
        )


@pytest.mark.parametrize("at", ["answer_on", "fired+answer_on"])
@pytest.mark.parametrize("tail", ["", " In Tes"])
def test_decode_steps_are_edited_as_whole_passes_are(model, prompt_encoder, at, tail):
    """Generated tokens are edited through the cache exactly as in passes over the whole text
    without one; so does batch 1; so do prefilled prompts."""
    with AdapterHooks(model, plus(model, prompt_encoder, at)):
        together = generate(model, prompt_encoder, QUESTIONS, tail)
        assert torch.equal(
            generate(model, prompt_encoder, QUESTIONS, tail, use_cache=False), together
        )
        for i, question in enumerate(QUESTIONS):
            assert torch.equal(generate(model, prompt_encoder, [question], tail)[0], together[i])
    assert not torch.equal(generate(model, prompt_encoder, QUESTIONS, tail)[FIRES], together[FIRES])


def test_what_cannot_be_told_is_refused(model, prompt_encoder):
    with (
        AdapterHooks(model, plus(model, prompt_encoder)),
        pytest.raises(ValueError, match="whole prompt in one pass"),
    ):
        generate(model, prompt_encoder, QUESTIONS[:1], prefill_chunk_size=4)


def test_saved_and_loaded_and_removed(model, prompt_encoder, tmp_path):
    """The folder carries whitening, centroids, threshold and choices; loaded, it says the same
    bits."""
    adapter = plus(model, prompt_encoder, "fired+answer_on")
    adapter.save(tmp_path / "a")
    loaded = Adapter.load(model, tmp_path / "a")
    assert (
        loaded.edit_policy == adapter.edit_policy
        and loaded.metric_gate.layer == 0
        and loaded.config.position == "fired+answer_on"
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(adapter.metric_gate.buffers(), loaded.metric_gate.buffers(), strict=True)
    )
    base = generate(model, prompt_encoder, QUESTIONS)
    with AdapterHooks(model, adapter):
        mine = generate(model, prompt_encoder, QUESTIONS)
    with AdapterHooks(model, loaded):
        assert torch.equal(generate(model, prompt_encoder, QUESTIONS), mine)
    assert torch.equal(generate(model, prompt_encoder, QUESTIONS), base)


def test_two_requests_fire_apart(model, prompt_encoder):
    """A list of two adapters: one on the name, one on "it"; each prompt is edited by the one that
    fires, and by it alone."""
    one = plus(model, prompt_encoder)
    two = plus(model, prompt_encoder, layers=[2])
    state = read_states(model, 0, [prompt_encoder.prompt_ids(QUESTIONS[1])])[0]
    two.metric_gate = MetricGate(
        0, torch.eye(32), state[find_name_token(prompt_encoder, QUESTIONS[1], "it")][None], 1e-3
    )
    with AdapterHooks(model, one):
        by_one = generate(model, prompt_encoder, QUESTIONS)
    with AdapterHooks(model, two):
        by_two = generate(model, prompt_encoder, QUESTIONS)
    with AdapterHooks(model, [one, two], names=["a", "b"]) as both:
        found = generate(model, prompt_encoder, QUESTIONS)
        assert (both.gate_logits.nan_to_num(-1) > 0).any(1).tolist() == [
            [True, False, True],
            [False, True, False],
        ]
    assert torch.equal(found[FIRES], by_one[FIRES]) and torch.equal(found[QUIET], by_two[QUIET])


@pytest.mark.parametrize("how", [{}, {"reads": "last", "fit": "bce", "threshold": "soft"}])
def test_cached_engine_equals_hooks(model, prompt_encoder, how):
    """idk+ul, edits from the answer tag on: same loss, gates and gradients from cached suffixes as
    from whole passes through the hooks."""
    batches = {
        "forget": batch_for(prompt_encoder),
        "idk": pad([prompt_encoder.encode(q, "I cannot say.") for q in QUESTIONS], 0),
    }
    losses = []
    gradients = []
    for kind in (HookedEngine, CachedEngine):
        adapter = plus(model, prompt_encoder, **how).requires_grad_(True)
        tuner = GrunTuner(model, adapter, kind(model, adapter), 10.0)
        said = tuner.forward_answers(batches)
        loss = OBJECTIVES["idk+ul"].term(said["forget"], said["idk"], beta=1.0)
        if how:
            loss = loss + tuner.auxiliary_losses(said | {"retain": said["idk"]})["gate"]
        losses.append(loss.detach())
        gradients.append(
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(
                        loss, [p for p in adapter.parameters() if p.requires_grad]
                    )
                ]
            )
        )
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[0].norm()
    assert not hasattr(model, "grun"), "the engine leaves no hooks behind"


def test_unlikelihood_by_hand():
    """Two tokens with p = 1/2 and 3/4: -log(1/2) and -log(1/4), mean (ln 2 + ln 4) / 2 = 1.5 ln 2;
    twice that, and ln 2 of a refusal with p = 1/2."""
    said = say_of(torch.tensor([[1.0, 1.0], [3.0, 1.0]]).log(), [0, 0])
    term = OBJECTIVES["idk+ul"].term(said, say_of(torch.zeros(1, 2), [1]), beta=2.0)
    assert term.item() == pytest.approx(4 * torch.tensor(2.0).log().item())


def say_of(logits, labels):
    return AnswerLogits(logits, torch.tensor(labels), torch.zeros(len(labels), dtype=torch.long), 1)


def test_calibrated_trained_gate(model, prompt_encoder):
    """bce, calibrated: a fifth of the retain names is set aside, and a threshold per layer stands
    in the adapter; below it nothing is edited."""
    args, _, _ = grun_train.read(
        ["--gate_threshold", "calibrated", "--gate", "linear", "--edit_at", "answer_on"]
    )
    source = open_benchmark("authors", authors=20, heldout=0)
    pairs, held = pairs_for(
        args,
        ForgetRetainSampler(
            source.examples("forget10"), source.unlearning_retain("forget10"), source.refusals, 4, 0
        ),
    )
    assert len(held) == 40 and not {e.entity for e in held} & {e.entity for e in pairs.retain}
    adapter = Adapter(
        model,
        AdapterConfig([1, 3], 2, "linear", edit_policy=asdict(choices_of(args, prompt_encoder))),
        seed=3,
    ).requires_grad_(False)
    calibrate(adapter, CachedEngine(model, adapter), prompt_encoder, args, pairs.forget, held)
    assert (
        set(adapter.edit_policy.taus) == {"1", "3"}
        and adapter.config.edit_policy["taus"] == adapter.edit_policy.taus
    )
    shut = replace(adapter.edit_policy, taus={"1": 1e9, "3": 1e9})
    base = generate(model, prompt_encoder, QUESTIONS)
    adapter.edit_policy = shut
    with AdapterHooks(model, adapter):
        assert torch.equal(generate(model, prompt_encoder, QUESTIONS), base)
