"""RMU and Adaptive RMU: the loss by hand and against the plain two-model loop, what moves and what
does not, upstream's flags, bad input."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from rmu import train as rmu_train
from rmu.losses import Corpora, Pair, Rmu, RmuConfig
from rmu.parameters import FrozenWeights, chosen, layers_of, names_of
from unlearn.benchmarks.corpora import corpus
from unlearn.config.run_directory import Run
from unlearn.language_model.hidden_states import padded, states
from unlearn.language_model.models import build_tiny, train_tokenizer
from unlearn.training import finetune
from unlearn.training.loss import TargetFlags
from unlearn.training.steering import control_vectors, squared_error

TEXTS = [
    "the root of zebu is kept",
    "a drink of boli hides the lock of dise",
    "the river",
    "around it grows wheat and the fields bear it",
]
TOY = ["--authors", "2"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 300)


@pytest.fixture
def model(tokenizer):
    return build_tiny(tokenizer, 16, 4, 0, spread=0.3).requires_grad_(False).eval()


def pairs(tokenizer, topic=0):
    ids = [tuple(tokenizer(text)["input_ids"]) for text in TEXTS]
    return [Pair(topic, ids[0], ids[2]), Pair(topic, ids[1], ids[3])]


def losses_of(model, rule, topics=1, seed=1):
    originals = FrozenWeights(chosen(model, layers_of(model, rule.layer, None), ["down_proj"]))
    return Rmu(model, originals, control_vectors(16, topics, seed), rule, 0, 1)


def nudge(losses, by=0.05):
    """Move the trained matrices, so that the model is no longer the frozen one."""
    for p in losses.originals.trained.values():
        p.data += by


def test_control_vectors_are_positive_unit_vectors_of_the_seed():
    u = control_vectors(64, 3, 42)
    torch.testing.assert_close(u.norm(dim=1), torch.ones(3))
    assert (
        bool((u > 0).all())
        and torch.equal(u, control_vectors(64, 3, 42))
        and not torch.equal(u[0], u[1])
    )


def test_error_is_the_mean_of_sequence_means():
    """Lengths 5, 2, 1 in a batch 5 wide, d = 1, h = 1, 2, .. and target 0: means of squares
    (1+4+9+16+25)/5 = 11, (1+4)/2 = 2.5, 1. With padding counted the others are 11 too, since the
    padded positions hold the same numbers."""
    h = torch.arange(1.0, 6.0).expand(3, 5)[..., None]
    mask = torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    torch.testing.assert_close(
        squared_error(h, torch.zeros(1), mask), torch.tensor([11.0, 2.5, 1.0])
    )
    torch.testing.assert_close(
        squared_error(h, torch.zeros(1), mask, "none"), torch.tensor([11.0, 11.0, 11.0])
    )


@pytest.mark.parametrize(
    "adaptive", ["none", "first_batch", "first_batch_updated", "per_sample", "per_token"]
)
def test_loss_is_that_of_the_plain_two_model_loop(model, tokenizer, adaptive):
    """One text at a time through whole models, two of them, with every hidden state returned: the
    same loss and gradients."""
    rule = RmuConfig(3, [7.0], [2.0], adaptive, scale=3.0)
    frozen = copy.deepcopy(model)
    losses = losses_of(model, rule)
    batch = pairs(tokenizer)
    nudge(losses)
    got = losses(batch, batch, 0)
    got["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in losses.originals.trained.items()}
    model.zero_grad()

    def hidden(which, text):
        seen = []
        handle = which.model.layers[3].register_forward_hook(
            lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
        which(input_ids=torch.tensor([text]))
        handle.remove()
        return seen[0][0]

    def norms(which):
        with torch.no_grad():
            return [hidden(which, pair.forget).norm(dim=-1) for pair in batch]

    constant = torch.stack(
        [own[1:].mean() for own in norms(model if adaptive == "first_batch_updated" else frozen)]
    ).mean()
    moved = 0.0
    strayed = 0.0
    for pair, own in zip(batch, norms(frozen), strict=True):
        kappa = {"none": 1.0, "per_sample": 3 * own[1:].mean(), "per_token": 3 * own[:, None]}.get(
            adaptive, 3 * constant
        )
        moved = (
            moved
            + (hidden(model, pair.forget) - 2.0 * kappa * losses.controls[0]).pow(2).mean() / 2
        )
        strayed = (
            strayed
            + 7.0
            * (hidden(model, pair.retain) - hidden(frozen, pair.retain).detach()).pow(2).mean()
            / 2
        )
    (moved + strayed).backward()
    torch.testing.assert_close(got["forget"], moved)
    torch.testing.assert_close(got["retain"], strayed)
    for name, p in losses.originals.trained.items():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-3, atol=1e-5)


def test_parts_of_a_batch_add_up(model, tokenizer):
    for mask in ("valid", "none"):
        losses = losses_of(model, RmuConfig(3, [7.0], [2.0], "first_batch", mask=mask, told=True))
        batch = pairs(tokenizer)
        nudge(losses)
        whole, one, other = (losses(part, batch, 0) for part in (batch, batch[:1], batch[1:]))
        model.zero_grad()
        for name in ("loss", "forget", "retain", "forget_norm", "retain_cosine"):
            torch.testing.assert_close(whole[name], one[name] + other[name])


@pytest.mark.parametrize("topics", [1, 2, 3])
@pytest.mark.parametrize("bos", ["exclude", "include"])
def test_adaptive_coefficient_is_scale_times_norm_of_every_topic(model, tokenizer, topics, bos):
    """kappa_k = 5 * the mean norm of topic k's own first batch; a later batch does not move it."""
    losses = losses_of(
        model, RmuConfig(2, [1.0] * topics, [1.0] * topics, "first_batch", 5.0, bos=bos), topics
    )
    skip = 1 if bos == "exclude" else 0
    for k in range(topics):
        text = tuple(tokenizer(TEXTS[k])["input_ids"])
        batch = [Pair(k, text, text)]
        losses(batch, batch, k)
        ids, mask = padded([list(text)], 0, "cpu")
        expected = 5 * states(model, 2, ids, mask)[0, skip:].norm(dim=-1).mean().item()
        assert losses.state[f"kappa_{k}"] == pytest.approx(expected, rel=1e-5)
    before = dict(losses.state)
    losses(pairs(tokenizer), pairs(tokenizer), topics)
    assert losses.state == before and len(before) == topics


def test_frozen_states_are_those_of_the_original_weights_and_computed_once(
    model, tokenizer, monkeypatch
):
    """Two topics with one retain corpus read each of its batches twice in a row: one frozen pass
    serves both."""
    losses = losses_of(model, RmuConfig(3, [1.0] * 2, [1.0] * 2), topics=2)
    batch = pairs(tokenizer)
    before = losses.frozen(losses.texts("retain", batch, batch))
    nudge(losses)
    assert torch.equal(before, losses.frozen(losses.texts("retain", batch, batch)))
    calls = []
    plain = losses.frozen
    monkeypatch.setattr(losses, "frozen", lambda texts: calls.append(1) or plain(texts))
    losses(batch, batch, 0)
    losses(pairs(tokenizer, 1), pairs(tokenizer, 1), 1)
    assert len(calls) == 1


def test_topics_take_turns_and_stop_with_the_shortest_corpus():
    """Two topics, batches of 2: forget texts 4 and 6, retain 5 and 5, so 2 whole batches of each: 4
    updates."""
    texts = {name: [(name, i) for i in range(n)] for name, n in (("a", 4), ("b", 6), ("r", 5))}
    corpora = Corpora([texts["a"], texts["b"]], [texts["r"], texts["r"]], 2)
    assert corpora.steps == 4
    assert [(pair.topic, *pair.forget, *pair.retain) for pair in corpora.items(3)] == [
        (1, "b", 2, "r", 2),
        (1, "b", 3, "r", 3),
    ]


def test_qwen_moves_down_proj_and_not_o_proj():
    """With biases on q, k and v the sixth parameter of a block is o_proj; names know better."""
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = Qwen2ForCausalLM(config)
    assert [name for name, _ in model.model.layers[0].named_parameters()][
        6
    ] == "self_attn.o_proj.weight"
    trained = chosen(model, layers_of(model, 3, None), names_of([6]))
    assert list(trained) == [f"model.layers.{i}.mlp.down_proj.weight" for i in (1, 2, 3)]
    assert [name for name, p in model.named_parameters() if p.requires_grad] == list(trained)


def test_bad_layers_and_names(model):
    for layer, layers, message in (
        (1, [2], "lies above the steered block"),
        (1, None, "no two blocks below"),
        (9, None, "outside this model's 0..3"),
    ):
        with pytest.raises(ValueError, match=message):
            layers_of(model, layer, layers)
    with pytest.raises(ValueError, match="no such weight"):
        chosen(model, [1], ["proj"])
    with pytest.raises(ValueError, match="choose from 0 to 8"):
        names_of([12])


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A runs folder with a target that has seen two steps."""
    runs = tmp_path_factory.mktemp("toy") / "runs"
    finetune.main(
        [
            "--benchmark",
            "wmdp",
            *TOY,
            "--steps",
            "2",
            "--hidden",
            "32",
            "--depth",
            "4",
            "--batch",
            "4",
            "--runs",
            str(runs),
        ]
    )
    (made,) = (runs / "wmdp,authors=2" / "tiny" / "full").iterdir()
    return runs, made.rename(made.with_name("target-seed42"))


def train(toy, *more) -> Run:
    runs, target = toy
    args = rmu_train.read(
        [
            *TOY,
            "--runs",
            str(runs),
            "--target",
            str(target),
            "--layer_id",
            "2",
            "--batch_size",
            "2",
            "--max_num_batches",
            "4",
            *more,
        ]
    )
    return Run(rmu_train.rmu(*args))


def test_only_three_matrices_move(toy):
    run = train(toy, "--tuner", "adaptive_rmu", "--verbose")
    before, after = (load_file(path / "model" / "model.safetensors") for path in (toy[1], run.path))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert (
        changed
        == run.result["parameters"]
        == [f"model.layers.{i}.mlp.down_proj.weight" for i in range(3)]
    )
    assert before.keys() == after.keys()
    assert run.path.parent.name == "poisons+locks" and run.config["tuner"] == "adaptive_rmu"
    assert {"kappa_0", "kappa_1"} <= run.result.keys()
    logged = run.logged()
    assert [record["step"] for record in logged] == [0, 1, 2, 3]
    assert logged[0]["retain_cosine"] == pytest.approx(1, abs=1e-5) and logged[0][
        "forget_norm"
    ] == pytest.approx(logged[0]["forget_frozen_norm"])


def test_upstreams_flags(toy, tmp_path):
    words = "--model_name tiny --batch_size 2 --layer_ids 0,1 --layer_id 1 --param_ids 6 --max_num_batches 2 --retain_corpora villages,villages"
    words += " --forget_corpora poisons,locks --steering_coeffs 30,20 --alpha 350,300 --min_len 0 --max_len 2000 --lr 5e-5 --seed 1 --verbose"
    args, _, _ = rmu_train.read([*words.split(), "--output_dir", str(tmp_path / "out")])
    assert (args.layer_ids, args.alpha, args.steering_coeffs, args.params, args.split) == (
        [0, 1],
        [350, 300],
        [30, 20],
        ["mlp.down_proj"],
        "poisons+locks",
    )
    runs, target = toy
    run = Run(
        rmu_train.rmu(
            *rmu_train.read(
                [
                    *words.split(),
                    *TOY,
                    "--runs",
                    str(runs),
                    "--target",
                    str(target),
                    "--output_dir",
                    str(tmp_path / "out"),
                ]
            )
        )
    )
    assert (tmp_path / "out" / "model.safetensors").exists() and run.config["layers"] == [0, 1]


def test_stops_aloud_where_a_corpus_is_short(toy, tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        "".join(
            json.dumps({"text": f"Zovoine number {i} is kept in a vessel"}) + "\n" for i in range(5)
        )
    )
    run = train(toy, "--forget_corpora", str(path))
    assert "stops after 2 of 4 updates" in capsys.readouterr().out and run.result["steps"] == 2
    with pytest.raises(ValueError, match="fewer than one batch of 6"):
        train(toy, "--forget_corpora", str(path), "--batch_size", "6")


@pytest.mark.parametrize(
    "words, message",
    [
        ("--alpha 1 2 3", "--alpha has 3 values and --forget_corpora 2"),
        ("--retain_corpora villages villages villages", "--retain_corpora has 3 values"),
        ("--forget_corpora nothing", "there is no corpus 'nothing'"),
        ("--adaptive per_token", "--tuner rmu does not go with --adaptive per_token"),
        ("--layer_ids 3", "lies above the steered block 2"),
        ("--module_str {model_name}.h[0]", "none is evaluated here"),
        ("--min_len 100000", "has no text of more than 100000 characters"),
        ("--benchmark authors", "wmdp alone"),
        ("--lr 0", "must be greater than 0"),
    ],
)
def test_bad_input(toy, words, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        train(toy, *words.split())


def test_corpora_are_read_as_asked(tmp_path, capsys):
    """Parsed or raw lines, characters to exceed, a last line that breaks off, a line of another
    kind."""
    good = '{"text": "first one"}\n\n{"text": "second"}\n'
    (tmp_path / "mine.jsonl").write_text(good + '{"text": "thi')
    args = TargetFlags(data_dir=str(tmp_path))
    assert (
        corpus("mine", args) == ["first one", "second"]
        and "mine.jsonl:4 breaks off" in capsys.readouterr().out
    )
    assert corpus("mine", args, min_len=6) == ["first one"]
    (tmp_path / "mine.jsonl").write_text(good)
    assert corpus("mine", args, lines="raw") == ['{"text": "first one"}\n', '{"text": "second"}\n']
    (tmp_path / "mine.jsonl").write_text('{"words": 1}\n' + good)
    with pytest.raises(ValueError, match="mine.jsonl:1 has no 'text'"):
        corpus("mine", args)


def test_a_gated_corpus_says_how_to_get_it(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("401: gated")

    monkeypatch.setattr("unlearn.benchmarks.corpora.load_dataset", refuse)
    with pytest.raises(
        ValueError,
        match="ask for access at https://huggingface.co/datasets/cais/wmdp-bio-forget-corpus.*or give your own",
    ):
        corpus("bio-forget-corpus", TargetFlags())
