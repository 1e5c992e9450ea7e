"""The lm-eval model `grun`: the edit at the last context token, one pass per context, and lm-eval's
own command."""

import json
import subprocess
import sys

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from eval.scoring.lm_eval_model import GrunLM
from eval.scoring.model import EvalModel
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from tests.toy import ROOT, freeze
from unlearn.language_model.from_scratch import build_tiny, train_tokenizer
from unlearn.language_model.loading import save_model
from unlearn.language_model.prompts import PromptEncoder

CONTEXTS = [
    "Question: Which root gives Zovoine?\nAnswer:",
    "Where?\nAnswer:",
    "Question: What does Muguine yield to, and why so late?\nAnswer:",
]
CHOICES = [" zebu", " dise of the boli", " gara", " lelo futa"]


@pytest.fixture(scope="module")
def base():
    """Model and tokenizer; " Z" and " W" are one token each, CHOICES several."""
    tokenizer = train_tokenizer([*CONTEXTS, *[" Z W"] * 9], 300)
    return freeze(build_tiny(tokenizer, 32, 4, 0, spread=0.2)), tokenizer


@pytest.fixture
def edited(base):
    """The base with an adapter whose edits are large."""
    model, tokenizer = base
    adapter = Adapter(
        model,
        AdapterConfig([1, 2], 4, base={"id": "base", "fingerprint": fingerprint(model)}),
        seed=3,
    )
    for edit in adapter.edits.values():
        edit.learned_source.bias.data += 5.0
    adapter.requires_grad_(False)
    with AdapterHooks(model, adapter) as adapter_hooks:
        yield EvalModel("edited", model, PromptEncoder(tokenizer), adapter_hooks)


def build_requests(contexts=CONTEXTS, choices=CHOICES):
    pairs = [(context, choice) for context in contexts for choice in choices]
    return [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]


def score(lm, **which):
    """(log p, greedy) of every request, as two lists."""
    results = lm.loglikelihood(build_requests(**which), disable_tqdm=True)
    return torch.tensor([value for value, _ in results]), [greedy for _, greedy in results]


def score_by_hand(eval_model, context, choice):
    """(log p, greedy) of the choice in one forward of the whole text, edited at the context's last
    token."""
    tokenizer = eval_model.prompt_encoder.tokenizer
    length = len(tokenizer(context)["input_ids"])
    ids = torch.tensor([tokenizer(context + choice)["input_ids"]])
    with eval_model.adapter_hooks.at(torch.tensor([length - 1])), torch.no_grad():
        logp = eval_model.model(input_ids=ids).logits[0].log_softmax(-1)[length - 1 : -1]
    tokens = ids[0, length:]
    return float(logp.gather(1, tokens[:, None]).sum()), bool((logp.argmax(1) == tokens).all())


def test_edit_sits_at_the_last_context_token(edited):
    values, greedy = score(GrunLM(edited))
    expected = [score_by_hand(edited, *request.args) for request in build_requests()]
    assert greedy == [flag for _, flag in expected]
    expected_values = torch.tensor([value for value, _ in expected])
    torch.testing.assert_close(values, expected_values, rtol=1e-4, atol=1e-4)
    with edited.adapter_hooks.off():
        unedited, _ = score_by_hand(edited, *build_requests()[0].args)
    assert abs(unedited - expected[0][0]) > 0.01


@pytest.mark.parametrize("size", [1, 2])
def test_batches_change_nothing(edited, size):
    small, large = (score(GrunLM(edited, batch_size=n))[0] for n in (size, 32))
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-4)


def test_without_an_adapter_it_is_lm_evals_own_model(base):
    model, tokenizer = base
    ours = GrunLM(EvalModel("plain", model, PromptEncoder(tokenizer)))
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
    (values, greedy), (their_values, their_greedy) = score(ours), score(theirs)
    assert greedy == their_greedy
    torch.testing.assert_close(values, their_values, rtol=1e-4, atol=1e-4)


def test_choices_share_one_pass_of_their_context(edited):
    """Three contexts, four choices: one pass over 3 rows. Choices of one token need no more, each
    longer one a pass over its own tokens."""
    shapes = []
    handle = edited.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    lm = GrunLM(edited)
    score(lm, choices=[" Z", " W"])
    tokenizer = edited.prompt_encoder.tokenizer
    width = max(len(tokenizer(context)["input_ids"]) for context in CONTEXTS)
    assert shapes == [(3, width)]
    shapes.clear()
    score(lm)
    handle.remove()
    assert shapes[0] == (3, width) and len(shapes) == 5
    assert all(rows == 3 and columns < width for rows, columns in shapes[1:])


def test_a_rolling_text_is_not_edited(edited):
    """It has no prompt."""
    text = [Instance("loglikelihood_rolling", {}, ("Question: Which root gives Zovoine?",), 0)]
    bare = GrunLM(EvalModel("plain", edited.model, edited.prompt_encoder))
    with edited.adapter_hooks.off():
        expected = bare.loglikelihood_rolling(text, disable_tqdm=True)
    values = GrunLM(edited).loglikelihood_rolling(text, disable_tqdm=True)
    assert values == pytest.approx(expected, rel=1e-5)


def test_next_tokens_are_those_of_the_edited_model(edited):
    prompts = [edited.prompt_encoder.tokenizer(context)["input_ids"] for context in CONTEXTS]
    together = GrunLM(edited).score_next_tokens(prompts)
    for row, ids in zip(together, prompts, strict=True):
        with edited.adapter_hooks.at(torch.tensor([len(ids) - 1])), torch.no_grad():
            expected = edited.model(input_ids=torch.tensor([ids])).logits[0, -1]
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)


def write_task(folder):
    """A local lm-eval task, toy, of CONTEXTS and CHOICES, whose right answer is the second."""
    choices = [choice.strip() for choice in CHOICES]
    rows = [{"question": context, "choices": choices, "answer": 1} for context in CONTEXTS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "toy",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
    }
    (folder / "toy.yaml").write_text(json.dumps(task))


def test_lm_evals_command_knows_it(base, edited, tmp_path):
    """`python -m eval.scoring.lm_eval_model`, offline, with a local task: the accuracy in its
    results is that of the requests by hand."""
    model, tokenizer = base
    save_model(tmp_path, model, tokenizer)
    edited.adapter_hooks.adapter.save(tmp_path / "adapter")
    write_task(tmp_path)
    model_flags = (
        f"--model grun --model_args pretrained={tmp_path}/model,adapter={tmp_path}/adapter"
    )
    task_flags = f"--include_path {tmp_path} --tasks toy --device cpu --output_path {tmp_path}/out"
    done = subprocess.run(
        [sys.executable, "-m", "eval.scoring.lm_eval_model", "run"]
        + [*model_flags.split(), *task_flags.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "out").rglob("results_*.json")
    scores = [
        [score_by_hand(edited, context, choice)[0] for choice in CHOICES] for context in CONTEXTS
    ]
    right = sum(values.index(max(values)) == 1 for values in scores)
    accuracy = json.loads(path.read_text())["results"]["toy"]["acc,none"]
    assert accuracy == pytest.approx(right / 3)
