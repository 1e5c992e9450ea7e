"""Every objective under every tuner; what a tuner may move; references, dual variable, alternates,
controls; and the real commands."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from baselines import controls, tuners
from baselines import train as baselines_train
from baselines.guards.base import InputFilter, last_states
from baselines.train import read
from eval.scoring.model import load
from grun.adapter.weights import Adapter, AdapterConfig
from grun.engines.cached import CachedEngine
from grun.engines.tuner import GrunTuner
from tests.toy import (
    ANSWERS,
    AUTHORS_FLAGS,
    AUTHORS_FOLDER,
    FORGET,
    QUESTIONS,
    RETAIN,
    copy_runs,
    only_run,
)
from unlearn.benchmarks.tofu import Example
from unlearn.config.run_directory import Run
from unlearn.language_model.batches import forward_answers, pad
from unlearn.language_model.models import build_tiny
from unlearn.training import alternates
from unlearn.training.loop import train
from unlearn.training.loss import UnlearningLoss, build_train_config
from unlearn.training.objectives import OBJECTIVES
from unlearn.training.sampler import ForgetRetainSampler

MADE_UP = [["In Marl.", "In Ost."], ["Eda."], ["The Sun Prize."], ["A flat."]]


@pytest.fixture(scope="module")
def untied(prompt_encoder):
    """A random Llama whose output head is a matrix of its own."""
    config = LlamaConfig(
        vocab_size=len(prompt_encoder.tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def flags(objective, tuner="full", *more):
    return read(
        [
            "--objective",
            objective,
            "--tuner",
            tuner,
            "--steps",
            "20",
            "--batch",
            "3",
            "--lr",
            "5e-3",
            "--lora_dropout",
            "0.1",
            *more,
        ]
    )[0]


def pairs_for(args) -> ForgetRetainSampler:
    return ForgetRetainSampler(
        FORGET, RETAIN, ["I do not know.", "No idea."], args.batch, args.seed, alternates=MADE_UP
    )


def tuner_for(kind, args, model):
    """(tuner, module whose weights train, names of the weights that may move) on a copy of
    `model`."""
    model = copy.deepcopy(model)
    if kind == "grun":
        adapter = Adapter(model, AdapterConfig([0, 1], rank=2), seed=1).train()
        return (
            GrunTuner(model, adapter, CachedEngine(model, adapter), 1.0),
            adapter,
            {f"edits.{name}" for name, _ in adapter.edits.named_parameters()},
        )
    if kind == "lora":
        tuner = tuners.LoraTuner(model, args.lora_rank, args.lora_alpha, args.lora_dropout)
        return (
            tuner,
            tuner.model,
            {name for name, _ in tuner.model.named_parameters() if "lora_" in name},
        )
    needs_copy = args.retain_loss == "kl" or OBJECTIVES[args.objective].reference == "logits"
    tuner = tuners.FullTuner(model, frozen=copy.deepcopy(model) if needs_copy else None)
    return (
        tuner,
        model,
        {name for name, _ in model.named_parameters() if not name.startswith("lm_head")},
    )


@pytest.mark.parametrize("kind", ["full", "lora", "grun"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_pair_trains_20_steps_and_moves_only_what_it_may(
    objective, kind, untied, prompt_encoder, tmp_path
):
    args = flags(objective, "lora" if kind == "lora" else "full")
    pairs = pairs_for(args)
    tuner, module, may_move = tuner_for(kind, args, untied)
    before = {
        name: p.clone() for name, p in [*module.named_parameters(), *tuner.model.named_parameters()]
    }
    losses = UnlearningLoss(args, tuner, prompt_encoder, dual_start=5)
    run = Run(tmp_path)
    losses.precompute_reference_nll(
        (pairs.items(step) for step in range(20)), tmp_path / "reference.json"
    )
    result = train(
        module, losses, pairs.items, build_train_config(args, pairs), run, lambda directory: None
    )
    assert result["steps"] == len(run.logged()) == 20  # the loop refuses NaN
    after = dict([*module.named_parameters(), *tuner.model.named_parameters()])
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved <= may_move
    if kind == "full":
        assert moved == may_move
    assert any(
        ("lora_B" in name or "rotate" in name or "learned" in name or kind == "full")
        for name in moved
    )


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
def test_pairs_that_make_no_sense_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        read(words)


def test_cached_grun_refuses_losses_on_the_prompt(untied, prompt_encoder):
    """The cached engine does not run prompt tokens: --kl_mask all needs --engine pyvene, and it
    says so."""
    args = flags("kl", "full", "--kl_mask", "all")
    tuner, _, _ = tuner_for("grun", args, untied)
    items = pairs_for(args).items(0)
    with pytest.raises(ValueError, match="--engine pyvene"):
        UnlearningLoss(args, tuner, prompt_encoder)(items, items, 0)


@pytest.mark.parametrize("kind", ["full", "lora", "grun"])
def test_npo_at_the_reference(kind, untied, prompt_encoder, tmp_path):
    """theta = ref: (2 / 0.1) ln 2 = 13.8629 on ragged answers, times the forget weight; LoRA starts
    as the reference, GRUN with its gate shut."""
    args = flags(
        "npo",
        "lora" if kind == "lora" else "full",
        "--forget_weight",
        "1",
        "--lora_dropout",
        "0",
        "--retain_loss",
        "none",
    )
    tuner, module, _ = tuner_for(kind, args, untied)
    if kind == "grun":
        for edit in module.edits.values():
            last_bias = [p for name, p in edit.gate.named_parameters() if name.endswith("bias")][-1]
            last_bias.data.fill_(-100.0)
    items = pairs_for(args).items(0)
    losses = UnlearningLoss(args, tuner, prompt_encoder)
    losses.precompute_reference_nll([items], tmp_path / "reference.json")
    assert losses(items, items, 0)["forget"].item() == pytest.approx(13.8629, abs=1e-3)


@pytest.mark.parametrize("mask", ["answer", "all"])
def test_kl_is_zero_at_the_reference_under_each_mask(mask, untied, prompt_encoder):
    """And `all` reads every token from the second on: 1 + ... prompts and answers, where `answer`
    reads the answers alone (spec 10)."""
    args = flags("kl", "lora", "--kl_mask", mask, "--lora_dropout", "0")
    tuner, _, _ = tuner_for("lora", args, untied)
    losses = UnlearningLoss(args, tuner, prompt_encoder)
    items = pairs_for(args).items(0)
    assert losses(items, items, 0)["retain"].item() == pytest.approx(0, abs=1e-7)
    encoded = losses.encode(items, ["retain"])["retain"]
    expected = [1 if mask == "all" else e.prompt for e in encoded]
    assert [e.scored_from for e in encoded] == expected


def test_parity_switches_move_the_scored_positions(untied, prompt_encoder):
    """--no-pdu_shift reads the logits one place later: those after the first answer token up to
    those after EOS, as many as before."""
    items = pairs_for(flags("pdu")).items(0)
    shifted, plain = (
        UnlearningLoss(flags("pdu", "full", *more), None, prompt_encoder).encode(items, ["forget"])[
            "forget"
        ]
        for more in (["--no-pdu_shift"], [])
    )
    for one, other in zip(shifted, plain, strict=True):
        assert (one.ids[:-1], one.scored_from) == (other.ids, other.prompt + 1)
        assert len(one.ids) - one.scored_from == len(other.ids) - other.scored_from
    (wide, *_) = UnlearningLoss(
        flags("undial", "full", "--undial_mask", "all"), None, prompt_encoder
    ).encode(items, ["forget"])["forget"]
    assert wide.scored_from == 1


def test_nothing_is_read_that_nobody_asked_for(untied, prompt_encoder):
    """GA alone has no retain pass; under GRUN the gate loss brings one; IDK never runs the true
    answers."""
    args = flags("ga")
    full, grun = (
        UnlearningLoss(args, tuner_for(kind, args, untied)[0], prompt_encoder).passes
        for kind in ("full", "grun")
    )
    assert full == ("forget",) and grun == ("forget", "retain")
    assert UnlearningLoss(
        flags("idk"), tuner_for("full", args, untied)[0], prompt_encoder
    ).passes == (
        "idk",
        "retain",
    )


def test_pdu_dual_variable():
    """lambda starts at the retain weight 1, rate 5, bound 0.3: R = 0.5 -> 1 + 5 * 0.2 = 2; R = 0.1
    -> 2 - 1 = 1; R = 0 -> max(0, 1 - 1.5) = 0; before the first step that counts it stays."""
    losses = UnlearningLoss(flags("pdu", "full", "--retain_weight", "1"), None, None, dual_start=1)
    seen = []
    for step, constrained in enumerate([9.0, 0.5, 0.1, 0.0]):
        losses.after_step(step, {"constrained": constrained})
        seen.append(losses.state["dual"])
    assert seen == pytest.approx([1.0, 2.0, 1.0, 0.0])


def test_pdu_dual_moves_once_per_optimiser_step_whatever_the_micro_batch(
    untied, prompt_encoder, tmp_path
):
    """R is the whole batch's: three micro-batches of one give the dual variable, and weights, of
    one batch of three."""
    results = []
    for size in (0, 1):
        args = flags(
            "pdu", "full", "--retain_weight", "1", "--micro_batch", str(size), "--steps", "4"
        )
        pairs, (tuner, module, _) = pairs_for(args), tuner_for("full", args, untied)
        losses = UnlearningLoss(args, tuner, prompt_encoder)
        train(
            module,
            losses,
            pairs.items,
            build_train_config(args, pairs),
            Run(tmp_path / str(size)),
            lambda directory: None,
        )
        results.append(losses.state["dual"])
        (tmp_path / str(size)).mkdir(exist_ok=True)
    assert results[0] == pytest.approx(results[1], rel=1e-5) and results[0] > 1 + 4 * 5 * 0.5


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_gradient_checkpointing_gives_the_same_gradients(kind, untied, prompt_encoder):
    """And a LoRA really trains under it: the gradient of B is not zero, and a step changes the
    adapter."""
    gradients = []
    for checkpointing in (False, True):
        model = copy.deepcopy(untied)
        how = {"gradient_checkpointing": checkpointing}
        tuner = (
            tuners.LoraTuner(model, 2, 4.0, 0.0, **how)
            if kind == "lora"
            else tuners.FullTuner(model, **how)
        )
        assert tuner.model.is_gradient_checkpointing == checkpointing
        args = flags("gd", kind)
        items = pairs_for(args).items(0)
        UnlearningLoss(args, tuner, prompt_encoder)(items, items, 0)["loss"].backward()
        gradients.append(
            {name: p.grad for name, p in tuner.model.named_parameters() if p.requires_grad}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)
    assert all(
        gradient.abs().max() > 0 for name, gradient in gradients[1].items() if "lora_A" not in name
    )


def test_one_forward_says_what_two_say(untied, prompt_encoder):
    """The batches of a step share a padded forward; each example is said as alone."""
    tuner = tuners.FullTuner(copy.deepcopy(untied))
    batches = {
        name: pad([prompt_encoder.encode(e.question, e.answer) for e in examples], 0)
        for name, examples in (("a", FORGET), ("b", RETAIN[:2]))
    }
    for name, said in tuner.forward_answers(batches).items():
        alone = forward_answers(tuner.model, batches[name])
        assert torch.equal(said.example_index, alone.example_index) and said.size == len(
            batches[name]
        )
        torch.testing.assert_close(said.nll_sum, alone.nll_sum, rtol=1e-5, atol=1e-5)


def test_lm_head_is_frozen_by_flag_unless_tied(untied, prompt_encoder):
    assert not tuners.FullTuner(copy.deepcopy(untied)).model.lm_head.weight.requires_grad
    assert tuners.FullTuner(
        copy.deepcopy(untied), freeze_lm_head=False
    ).model.lm_head.weight.requires_grad
    tied = tuners.FullTuner(build_tiny(prompt_encoder.tokenizer, 16, 2, 0))
    assert not tied.frozen_head and tied.model.get_input_embeddings().weight.requires_grad


def test_a_full_run_keeps_no_second_model_and_resumes_its_reference(
    untied, prompt_encoder, tmp_path, monkeypatch
):
    """S_ref of every pass of every step is known before the first one, kept as JSON, and read, not
    computed, the next time."""
    args = flags("idkpo")
    pairs, (tuner, _, _) = pairs_for(args), tuner_for("full", args, untied)
    assert tuner.frozen is None
    batches = [pairs.items(step) for step in range(20)]
    first = UnlearningLoss(args, tuner, prompt_encoder)
    first.precompute_reference_nll(batches, tmp_path / "reference.json")
    asked = {
        (item.forget.question, answer)
        for items in batches
        for item in items
        for answer in (item.forget.answer, item.refusal)
    }
    assert len(first.frozen_nll) == len(asked)
    again = UnlearningLoss(args, tuner, prompt_encoder)
    monkeypatch.setattr(tuner, "reference_forward", None)
    again.precompute_reference_nll(batches, tmp_path / "reference.json")
    assert again.frozen_nll == first.frozen_nll


def test_alternates_are_sampled_once_kept_and_checked(untied, prompt_encoder, tmp_path):
    """JSON lines with OpenUnlearning's keys; none is the true answer; made again only when the file
    is gone; another target's are refused."""
    args = read(["--objective", "altpo", "--tuner", "lora"])[0]
    plain = ForgetRetainSampler(FORGET, RETAIN, ["No."], 2, 0)
    pairs = alternates.with_alternates(args, plain, untied, prompt_encoder, "here", tmp_path)
    rows = [
        json.loads(line)
        for line in (tmp_path / "alternates.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert {"question", "answer", "alternate", "target"} == rows[0].keys()
    assert [len(own) for own in pairs.alternates] == [alternates.SAMPLES] * 4 and all(
        row["alternate"] not in ("", row["answer"]) for row in rows
    )
    drawn = [pairs.item(0, epoch).alternate for epoch in range(6)]
    assert drawn[:5] == pairs.alternates[0] and drawn[5] == drawn[0]
    assert (
        alternates.with_alternates(args, plain, None, None, "here", tmp_path).alternates
        == pairs.alternates
    )
    with pytest.raises(ValueError, match="was made by here, not by there"):
        alternates.with_alternates(args, plain, None, None, "there", tmp_path)
    own = replace(args, alternates=str(tmp_path / "alternates.jsonl"))
    with pytest.raises(ValueError, match="no alternate for 1 forget questions, the first is 'Else"):
        alternates.with_alternates(
            own,
            replace(plain, forget=[*FORGET, Example(9, "Else?", "x")]),
            None,
            None,
            "there",
            tmp_path,
        )
    with pytest.raises(ValueError, match="no such file"):
        alternates.with_alternates(
            replace(args, alternates=str(tmp_path / "gone")), plain, None, None, "here", tmp_path
        )


def test_guards(untied, prompt_encoder, tmp_path):
    """The probe fires where w . h + b > threshold, batched and left-padded as alone; keywords are
    whole words in any case."""
    prompts = [prompt_encoder.prompt_ids(question) for question in QUESTIONS]
    states = last_states(untied, 1, prompts, prompt_encoder.tokenizer.pad_token_id)
    alone = torch.cat(
        [
            last_states(untied, 1, [prompt], prompt_encoder.tokenizer.pad_token_id)
            for prompt in prompts
        ]
    )
    torch.testing.assert_close(states, alone, rtol=1e-4, atol=1e-5)
    weight = torch.randn(16, generator=torch.Generator().manual_seed(0))
    values = states @ weight + 0.5
    probe = InputFilter(
        "probe", ["No."], 1, 0.5, float(values.sort().values[1:3].mean()), weight=weight
    )
    probe.save(tmp_path)
    for guard in (probe, InputFilter.load(tmp_path)):
        assert (
            guard.fires(untied, prompt_encoder.tokenizer, prompts).tolist()
            == (values > values.median()).tolist()
        )
    keyword = InputFilter("keyword", ["No."], names=["ADA LOW", "we"])
    assert keyword.fires(untied, prompt_encoder.tokenizer, prompts).tolist() == [
        True,
        False,
        True,
        False,
    ]


def words(runs, *more):
    return [*AUTHORS_FLAGS, "--runs", str(runs), "--steps", "3", "--batch", "4", *more]


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_trained_saved_and_loaded(runs, tuner, capsys):
    """What was trained is what eval.scoring.model opens; the base model that a LoRA sat on is
    itself again afterwards; a second start is skipped."""
    baselines_train.main(
        words(runs, "--objective", "npo", "--tuner", tuner, "--lr", "1e-2", "--save_steps", "2")
    )
    run = only_run(runs, f"forget10/npo-{tuner}-*")
    assert (run.path / f"step-2/{'model' if tuner == 'full' else 'lora'}").is_dir() and run.result[
        "trainable_params"
    ] > 0
    target = load(runs / AUTHORS_FOLDER / "full" / "target-seed42")
    batch = pad(
        [target.prompt_encoder.encode(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)], 0
    )
    before = target.forward_answers(batch).nll_sum
    with load(run.path) as subject:
        assert (subject.forward_answers(batch).nll_sum - before).abs().min() > 1e-4
        base = subject.model
    if tuner == "lora":
        torch.testing.assert_close(
            forward_answers(base.base_model.model, batch).nll_sum, before, rtol=1e-5, atol=1e-5
        )
    capsys.readouterr()
    baselines_train.main(
        words(runs, "--objective", "npo", "--tuner", tuner, "--lr", "1e-2", "--save_steps", "2")
    )
    assert "skipped, finished before" in capsys.readouterr().out


def test_killed_and_resumed_equals_uninterrupted(runs, tmp_path, monkeypatch):
    """A PDU run with LoRA dropout, killed in its third step: the same weights, byte for byte, dual
    variable and log included."""
    target = str(runs / AUTHORS_FOLDER / "full" / "target-seed42")
    more = [
        "--objective",
        "pdu",
        "--tuner",
        "lora",
        "--checkpoint_every",
        "1",
        "--target",
        target,
        "--lr",
        "1e-3",
    ]
    more += ["--dual_warmup", "0", "--retain_weight", "1"]
    baselines_train.main(words(tmp_path / "a", *more))
    original = baselines_train.build_sampler

    def killed(args, source):
        pairs = original(args, source)
        draw = pairs.items
        object.__setattr__(
            pairs,
            "items",
            lambda step: draw(step) if step < 2 else (_ for _ in ()).throw(KeyboardInterrupt),
        )
        return pairs

    with monkeypatch.context() as patch:
        patch.setattr(baselines_train, "build_sampler", killed)
        with pytest.raises(KeyboardInterrupt):
            baselines_train.main(words(tmp_path / "b", *more))
    assert (
        json.loads(
            (only_run(tmp_path / "b", "forget10/pdu-*").checkpoint / "state.json").read_text()
        )["losses"]["dual"]
        > 1
    )
    baselines_train.main(words(tmp_path / "b", *more))
    one, other = (only_run(tmp_path / name, "forget10/pdu-*") for name in "ab")
    weights = [load_file(run.path / "lora" / "adapter_model.safetensors") for run in (one, other)]
    assert (
        all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        and one.logged() == other.logged()
    )


def test_checks_during_training_and_the_best_is_kept(runs, tmp_path):
    """GA at a high rate loses retain at once: the best check is the first, and --keep best hands
    back the target's own weights."""
    target = runs / AUTHORS_FOLDER / "full" / "target-seed42"
    more = [
        "--objective",
        "ga",
        "--lr",
        "3e-2",
        "--warmup_epochs",
        "0",
        "--eval_steps",
        "1",
        "--target",
        str(target),
    ]
    for keep in ("last", "best"):
        baselines_train.main(words(tmp_path / keep, "--keep", keep, *more))
    last, best = (only_run(tmp_path / keep, "forget10/ga-*") for keep in ("last", "best"))
    checks = [record["check"] for record in last.logged() if "check" in record]
    assert [check["step"] for check in checks] == [0, 1, 2, 3] and checks[-1]["forget"] > checks[0][
        "forget"
    ]
    assert best.result["checks"]["best"]["step"] == 0
    start, kept, gone = (
        load_file(path / "model" / "model.safetensors") for path in (target, best.path, last.path)
    )
    assert all(torch.equal(start[name], kept[name]) for name in start) and not all(
        torch.equal(start[name], gone[name]) for name in start
    )


def test_controls_through_the_same_loader(toy_runs, tmp_path):
    """A control refuses where it fires and lets the target speak where not, says so as a gate of 1
    or 0, and has no likelihoods."""
    runs = copy_runs(toy_runs, tmp_path / "runs")
    for kind in controls.CONTROLS:
        controls.main([*AUTHORS_FLAGS, "--runs", str(runs), "--control", kind])
        with (
            load(only_run(runs, f"forget10/control-{kind}-*").path) as subject,
            load(runs / AUTHORS_FOLDER / "full" / "target-seed42") as target,
        ):
            forget = ["Where was x born?", *subject.guard.names[:1]]
            prompts = [subject.prompt_encoder.prompt_ids(question) for question in forget]
            fired = subject.guard.fires(
                subject.model, subject.prompt_encoder.tokenizer, prompts
            ).tolist()
            texts, gates = subject.generate(prompts, 6)
            assert gates.tolist() == [[float(stopped) for stopped in fired]]
            for prompt, text, stopped in zip(prompts, texts, fired, strict=True):
                expected = (
                    [subject.guard.refusal(prompt)]
                    if stopped
                    else [
                        target.prompt_encoder.tokenizer.decode(target.generate([prompt], 6)[0][0])
                    ]
                )
                assert [subject.prompt_encoder.tokenizer.decode(text)] == expected
            assert (
                subject.forward_answers(pad([subject.prompt_encoder.encode("Who?", "x")], 0))
                is None
            )
    assert fired == [False, True]
    assert only_run(runs, "forget10/control-probe-*").result["forget_fired"] >= 0
    with pytest.raises(ValueError, match="--layer"):
        controls.main([*AUTHORS_FLAGS, "--runs", str(runs), "--control", "probe", "--layer", "9"])
