"""The evaluation's passes are exact: batches, padding and shared prompts change no metric; gradient
norms by hand. Every kind of subject."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from eval.metrics.fluency import CharacterModel
from eval.scoring.likelihood import gradient_norms, grouped, read_answers, shares_prompts
from eval.scoring.model import EvalModel
from eval.scoring.scoring import Scorer
from grun.adapter.edit_policy import EditPolicy
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.metric_gate import MetricGate
from grun.adapter.weights import Adapter
from grun.gate_fitting.fit import states_of
from grun.gate_fitting.training import tag_of
from grun.inference.hooks import AdapterHooks
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.batches import AnswerLogits, pad
from unlearn.language_model.from_scratch import build_tiny, train_tokenizer
from unlearn.language_model.prompts import Encoded, PromptEncoder

SETS = {
    name: rows[:: len(rows) // 5][:5]
    for name, rows in open_benchmark("authors", authors=10, heldout=2)
    .evaluation_sets("forget10")
    .items()
}
FORGET = SETS["forget"]
KINDS = ("base", "lora", "grun", "grun+ last", "grun+ answer_on", "grun+ fired")


@pytest.fixture(scope="module")
def prompt_encoder():
    texts = [
        text
        for e in FORGET + SETS["nonmember"]
        for text in (e.question, e.answer, *e.perturbed_answers)
    ]
    return PromptEncoder(train_tokenizer([*texts, "Question: ?\nAnswer:"] * 3, 400))


@pytest.fixture(scope="module")
def plain(prompt_encoder):
    """A random model whose weights are large enough that every token of the prompt counts."""
    model = build_tiny(prompt_encoder.tokenizer, 32, 3, seed=1).eval().requires_grad_(False)
    for weight in model.model.layers.parameters():
        weight.mul_(8 if weight.dim() == 2 else 1)
    return model


@contextmanager
def subject_of(kind: str, model, prompt_encoder) -> Iterator[EvalModel]:
    """The model as it is, with a LoRA that does something, or with an adapter whose gates open on
    some prompts."""
    if kind == "base":
        yield EvalModel(kind, model, prompt_encoder)
    elif kind == "lora":
        torch.manual_seed(0)
        tuned = get_peft_model(
            model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        ).eval()
        yield EvalModel(kind, tuned, prompt_encoder)
        tuned.unload()
        model.requires_grad_(False)
    else:
        with AdapterHooks(model, adapter_of(kind, model, prompt_encoder)) as adapter_hooks:
            yield EvalModel(kind, model, prompt_encoder, adapter_hooks)


def adapter_of(kind: str, model, prompt_encoder) -> Adapter:
    base = {"id": "x", "fingerprint": fingerprint(model)}
    if kind == "grun":
        adapter = Adapter(model, AdapterConfig([0, 2], 2, "linear", base=base), seed=3)
        for edit in adapter.edits.values():
            nn.init.normal_(
                edit.gate[0].weight
                if isinstance(edit.gate, nn.Sequential)
                else next(edit.gate.parameters()),
                std=3,
            )
        return adapter.requires_grad_(False)
    choices = EditPolicy("token", "metric", kind.split()[1], "calibrated", tag_of(prompt_encoder))
    config = AdapterConfig(
        [1, 2], 2, "none", base=base, position=choices.at, edit_policy=asdict(choices)
    )
    adapter = Adapter(model, config, seed=3)
    states = states_of(model, 0, [prompt_encoder.prompt_ids(e.question) for e in FORGET])
    adapter.metric_gate = MetricGate(
        0, torch.eye(32), torch.stack([states[0][-9], states[2][-9]]), 0.0
    )
    nearest = sorted(
        float(adapter.metric_gate.distances(h).min()) for h in states
    )  # 0 for two of five prompts, which fire
    adapter.metric_gate.tau.fill_((nearest[1] + nearest[2]) / 2)
    return adapter.requires_grad_(False)


def same(one, other) -> None:
    """Equal to 1e-5, whatever is nested in what; words and flags exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    else:
        assert one == (other if isinstance(one, str) else pytest.approx(other, rel=1e-5, abs=1e-5))


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_batch_1_for_every_part(kind, plain, prompt_encoder):
    """Every column that any metric reads, of sets with paraphrases, options, non-members: batches
    of 1 and of 64."""
    letters = CharacterModel([e.answer for e in FORGET])
    with subject_of(kind, plain, prompt_encoder) as eval_model:
        for name in ("forget", "real_authors", "nonmember"):
            found = []
            for size in (1, 64):
                rows = [{"index": e.index, "answer": e.answer} for e in SETS[name]]
                for _, compute in Scorer(size, 5, letters).parts(name).values():
                    rows = [
                        row | new
                        for row, new in zip(
                            rows, compute(eval_model, name, SETS[name], rows), strict=True
                        )
                    ]
                found.append(rows)
            for one, other in zip(*found, strict=True):
                same(one, other)
            if name == "forget" and "grun" in kind:
                assert (
                    len({tuple(np.round(row["gates"], 3)) for row in found[0]}) > 1
                )  # the gates differ, so they are the prompts' own
    assert {
        "answer_nll",
        "paraphrase_nll",
        "perturbed_nll",
        "answer_logprobs",
        "generation",
        "fluency_ours",
        "gradient_norm",
    } <= found[0][0].keys() | {
        "paraphrase_nll",
        "perturbed_nll",
        "generation",
        "fluency_ours",
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_shared_prompts_equal_plain_passes(kind, size, plain, prompt_encoder):
    """Seven answers behind each of five prompts of different lengths, in batches that cut groups
    and that join them: each answer's tokens are those of a pass of its own, without any padding."""
    pairs = [
        (e.question, answer)
        for e in FORGET
        for answer in (e.answer, e.paraphrased_answer, *e.perturbed_answers)
    ]
    encoded = [prompt_encoder.encode(*pair) for pair in pairs]
    with subject_of(kind, plain, prompt_encoder) as eval_model:
        assert shares_prompts(eval_model) == (not kind.startswith("grun+"))
        found = read_answers(eval_model, encoded, size)
        for e, tokens in zip(encoded, found, strict=True):
            said = eval_model.forward_answers(pad([e], prompt_encoder.tokenizer.pad_token_id))
            logp = said.logits.log_softmax(-1)
            mean = (logp.exp() * logp).sum(-1)
            np.testing.assert_allclose(tokens.logprobs, -said.nll, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(tokens.mean, mean, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(
                tokens.variance,
                (logp.exp() * logp.square()).sum(-1) - mean.square(),
                rtol=1e-4,
                atol=1e-4,
            )
            assert tokens.correct.tolist() == (said.logits.argmax(-1) == said.labels).tolist()
            assert tokens.nll_mean == pytest.approx(float(said.nll_mean), rel=1e-5) and len(
                tokens
            ) == int(said.lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_left_padding_changes_nothing(kind, plain, prompt_encoder):
    """The same prompts generated alone and beside one that is far longer: the same tokens, the same
    gates."""
    prompts = [prompt_encoder.prompt_ids(e.question) for e in FORGET]
    long = prompt_encoder.prompt_ids(" ".join(e.question for e in FORGET))
    with subject_of(kind, plain, prompt_encoder) as eval_model:
        together, gates = eval_model.generate([*prompts, long], 6)
        for i, prompt in enumerate(prompts):
            (alone,), own = eval_model.generate([prompt], 6)
            assert alone == together[i]
            assert (
                own is None if gates is None else torch.allclose(own[:, 0], gates[:, i], atol=1e-5)
            )


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_generated_token_is_the_likeliest_one(kind, plain, prompt_encoder):
    """Scoring (right-padded, the edit at prompt - 1) and generation (left-padded) meet the same
    model: reading what was generated finds every token right."""
    with subject_of(kind, plain, prompt_encoder) as eval_model:
        texts, _ = eval_model.generate([prompt_encoder.prompt_ids(e.question) for e in FORGET], 6)
        prompts = [prompt_encoder.prompt_ids(e.question) for e in FORGET]
        encoded = [
            Encoded([*prompt, *new], len(prompt), len(prompt))
            for prompt, new in zip(prompts, texts, strict=True)
            if new
        ]
        assert all(tokens.correct.all() for tokens in read_answers(eval_model, encoded, 3))


def test_groups_are_cut_to_the_batch_and_longest_come_first():
    """Answers 0-2, 3-4 and 5 of lengths 3, 3, 3, 9, 1, 5 in batches of 2: [3, 4] (9), [5] (5), then
    0 and 1, then 2."""
    batches = grouped([[0, 1, 2], [3, 4], [5]], [3, 3, 3, 9, 1, 5], 2)
    assert batches == [[[3, 4]], [[5]], [[0, 1]], [[2]]]
    assert grouped([[0, 1, 2], [3, 4], [5]], [3, 3, 3, 9, 1, 5], 64) == [[[3, 4], [5], [0, 1, 2]]]


def test_a_subject_without_likelihoods_has_none(prompt_encoder):
    guarded = SimpleNamespace(
        forward_answers=lambda batch: None,
        prompt_encoder=prompt_encoder,
        device="cpu",
        adapter_hooks=None,
    )
    assert read_answers(guarded, [prompt_encoder.encode("Who?", "Ada.")], 4) is None
    example = Example(0, "Who?", "Ada.")
    assert Scorer().likelihood(guarded, "forget", [example], []) == [{}] and Scorer().gradient(
        guarded, "forget", [example], [{"index": 0}]
    ) == [{}]


class Sum(nn.Module):
    """logits = a + 2 b, whatever is asked: d/db is twice d/da."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(4))
        self.b = nn.Parameter(torch.zeros(4), requires_grad=False)


def test_gradient_norm_by_hand():
    """Uniform over four. Tokens 0, 1 (and EOS, left out): mean gradient (p - onehot) = (-1, -1, 1,
    1) / 4, norm 1/2; of b twice that. Mean over tensors .75, not the global norm. One token: (-3,
    1, 1, 1) / 4: sqrt(3/4), so 1.5 sqrt(3/4)."""
    model = Sum()
    prompt_encoder = SimpleNamespace(tokenizer=SimpleNamespace(pad_token_id=3, decode=str))

    def forward_weights(batch):
        return AnswerLogits(
            (model.a + 2 * model.b).expand(len(batch.labels), 4),
            batch.labels,
            batch.example_index,
            len(batch),
        )

    eval_model = SimpleNamespace(
        model=model, prompt_encoder=prompt_encoder, device="cpu", forward_weights=forward_weights
    )
    encoded = [Encoded([2, 0, 1, 3], 1, 1), Encoded([2, 0, 3], 1, 1)]
    assert gradient_norms(eval_model, encoded) == pytest.approx([0.75, 1.5 * 0.75**0.5])
    assert (model.a.requires_grad, model.b.requires_grad, model.a.grad, model.b.grad) == (
        True,
        False,
        None,
        None,
    )
    with pytest.raises(ValueError, match="no token besides its end"):
        gradient_norms(eval_model, [Encoded([2, 3], 1, 1)])
