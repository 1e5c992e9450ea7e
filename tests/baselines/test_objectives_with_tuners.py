"""Every objective with every tuner: which weights change, what a step reads, what it equals."""

import pytest
import torch

from baselines.options import BaselineConfig
from tests.baselines.tuner_cases import (
    KINDS,
    build_case,
    build_toy_loss,
    build_toy_sampler,
    parse_flags,
)
from unlearn.config.experiment import parse_experiment
from unlearn.config.run_directory import Run
from unlearn.training.loop import train
from unlearn.training.objectives import OBJECTIVES
from unlearn.training.setup import build_train_config

PAIRS = [
    (objective, kind)
    for objective in OBJECTIVES
    for kind in KINDS
    if kind == "full" or OBJECTIVES[objective].saves == "weights"
]


@pytest.mark.parametrize(("objective", "kind"), PAIRS)
def test_training_changes_the_tuners_weights_only(
    objective, kind, untied, prompt_encoder, tmp_path
):
    """20 steps without NaN, which the loop refuses."""
    config = parse_flags(objective, "lora" if kind == "lora" else "full")
    sampler = build_toy_sampler(config)
    tuner, module, may_change = build_case(kind, config, untied)
    before = {
        name: p.clone() for name, p in [*module.named_parameters(), *tuner.model.named_parameters()]
    }
    loss = build_toy_loss(config, tuner, prompt_encoder, dual_start=5)
    batches = [sampler.items(step) for step in range(20)]
    loss.precompute_reference_nll(batches, tmp_path / "reference.json", 3)
    run = Run(tmp_path)
    train_config = build_train_config(config.training, sampler, config.run.seed)
    result = train(module, loss, sampler.items, train_config, run, lambda directory: None)
    assert result["steps"] == len(run.logged()) == 20
    after = dict([*module.named_parameters(), *tuner.model.named_parameters()])
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= may_change
    if OBJECTIVES[objective].steers:
        assert changed  # the layers above the steered one get no gradient
    elif kind == "full":
        assert changed == may_change
    else:
        assert any("lora_B" in name or "rotate" in name or "learned" in name for name in changed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--objective", "gated_npo_grad_diff"],
            "trains a gate, which --tuner full has not; take --objective npo",
        ),
        (["--tuner", "grun"], "GRUN is python -m grun.train"),
        (["--tuner", "magic"], "--tuner magic is unknown; choose one of full, lora"),
        (["--objective", "pdu", "--retain_loss", "none"], "bounds the retain loss itself"),
        (["--objective", "kl", "--retain_loss", "nll"], "take --objective gd or ga"),
        (["--keep", "best"], "pass --eval_steps"),
        (["--kl_mask", "some"], "--kl_mask some is unknown; choose one of answer, all"),
        (["--tuner", "lora", "--lora_rank", "0"], "--lora_rank 0"),
        (["--beta", "0"], "--beta 0.0: must be greater than 0"),
    ],
)
def test_impossible_flags_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        parse_experiment(BaselineConfig, words)


def test_cached_grun_refuses_losses_on_the_prompt(untied, prompt_encoder):
    """The cached engine does not run prompt tokens, so --kl_mask all needs --engine pyvene."""
    config = parse_flags("kl", "full", "--kl_mask", "all")
    tuner = build_case("grun", config, untied).tuner
    items = build_toy_sampler(config).items(0)
    with pytest.raises(ValueError, match="--engine pyvene"):
        build_toy_loss(config, tuner, prompt_encoder)(items, items, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_npo_at_the_reference(kind, untied, prompt_encoder, tmp_path):
    """At theta = ref NPO is (2 / 0.1) ln 2 = 13.8629 for answers of any length.

    LoRA starts as the reference; GRUN is the reference with its gate shut.
    """
    more = ["--forget_weight", "1", "--lora_dropout", "0", "--retain_loss", "none"]
    config = parse_flags("npo", "lora" if kind == "lora" else "full", *more)
    tuner, module, _ = build_case(kind, config, untied)
    if kind == "grun":
        for edit in module.edits.values():
            last_bias = [p for name, p in edit.gate.named_parameters() if name.endswith("bias")][-1]
            last_bias.data.fill_(-100.0)
    items = build_toy_sampler(config).items(0)
    loss = build_toy_loss(config, tuner, prompt_encoder)
    loss.precompute_reference_nll([items], tmp_path / "reference.json", 3)
    assert loss(items, items, 0)["forget"].item() == pytest.approx(13.8629, abs=1e-3)


@pytest.mark.parametrize("mask", ["answer", "all"])
def test_kl_is_zero_at_the_reference(mask, untied, prompt_encoder):
    """`all` scores every token from the second on, `answer` those of the answer alone."""
    config = parse_flags("kl", "lora", "--kl_mask", mask, "--lora_dropout", "0")
    loss = build_toy_loss(config, build_case("lora", config, untied).tuner, prompt_encoder)
    items = build_toy_sampler(config).items(0)
    assert loss(items, items, 0)["retain"].item() == pytest.approx(0, abs=1e-7)
    encoded = loss.encode(items, ["retain"])["retain"]
    expected = [1 if mask == "all" else e.prompt_length for e in encoded]
    assert [e.scored_from for e in encoded] == expected


def encode_forget(prompt_encoder, objective, *more):
    """The encoded forget examples of the first batch."""
    items = build_toy_sampler(parse_flags(objective)).items(0)
    loss = build_toy_loss(parse_flags(objective, "full", *more), None, prompt_encoder)
    return loss.encode(items, ["forget"])["forget"]


def test_no_pdu_shift_reads_logits_one_token_later(prompt_encoder):
    """From those after the first answer token to those after EOS, as many as before."""
    late = encode_forget(prompt_encoder, "pdu", "--no-pdu_shift")
    usual = encode_forget(prompt_encoder, "pdu")
    for one, other in zip(late, usual, strict=True):
        assert (one.ids[:-1], one.scored_from) == (other.ids, other.prompt_length + 1)
        assert len(one.ids) - one.scored_from == len(other.ids) - other.scored_from


def test_undial_mask_all_scores_the_prompt(prompt_encoder):
    first = encode_forget(prompt_encoder, "undial", "--undial_mask", "all")[0]
    assert first.scored_from == 1


@pytest.mark.parametrize(
    ("objective", "kind", "passes"),
    [
        ("ga", "full", ("forget",)),
        ("ga", "grun", ("forget", "retain")),  # for the gate loss
        ("idk", "full", ("idk", "retain")),  # never the true answers
    ],
)
def test_a_step_reads_only_what_it_needs(objective, kind, passes, untied, prompt_encoder):
    config = parse_flags(objective)
    tuner = build_case(kind, config, untied).tuner
    assert build_toy_loss(config, tuner, prompt_encoder).passes == passes


def test_pdu_dual_variable(prompt_encoder):
    """lambda starts at the retain weight 1, rate 5, bound 0.3.

    R = 0.5 -> 1 + 5 * 0.2 = 2; R = 0.1 -> 2 - 1 = 1; R = 0 -> max(0, 1 - 1.5) = 0. Before the first
    step that counts it stays.
    """
    config = parse_flags("pdu", "full", "--retain_weight", "1")
    loss = build_toy_loss(config, None, prompt_encoder, dual_start=1)
    duals = []
    for step, constrained in enumerate([9.0, 0.5, 0.1, 0.0]):
        loss.after_step(step, {"constrained": constrained})
        duals.append(loss.state["dual"])
    assert duals == pytest.approx([1.0, 2.0, 1.0, 0.0])


def test_pdu_dual_moves_once_per_optimiser_step(untied, prompt_encoder, tmp_path):
    """R is the whole batch's: micro-batches of one give the dual variable of one batch of three."""
    duals = []
    for size in ("0", "1"):
        more = ["--retain_weight", "1", "--micro_batch", size, "--steps", "4"]
        config = parse_flags("pdu", "full", *more)
        sampler = build_toy_sampler(config)
        tuner, module, _ = build_case("full", config, untied)
        loss = build_toy_loss(config, tuner, prompt_encoder)
        train_config = build_train_config(config.training, sampler, config.run.seed)
        run = Run(tmp_path / size)
        train(module, loss, sampler.items, train_config, run, lambda directory: None)
        duals.append(loss.state["dual"])
    assert duals[0] == pytest.approx(duals[1], rel=1e-5)
    assert duals[0] > 1 + 4 * 5 * 0.5
