"""The lm-eval model `grun`: the edit at the last context token, one pass a context, batched as
single, and lm-eval's own command."""

import json
import subprocess
import sys
from pathlib import Path

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
from unlearn.language_model.from_scratch import build_tiny, train_tokenizer
from unlearn.language_model.loading import save_model
from unlearn.language_model.prompts import PromptEncoder

ROOT = Path(__file__).resolve().parents[2]
CONTEXTS = [
    "Question: Which root gives Zovoine?\nAnswer:",
    "Where?\nAnswer:",
    "Question: What does Muguine yield to, and why so late?\nAnswer:",
]
CHOICES = [" zebu", " dise of the boli", " gara", " lelo futa"]


@pytest.fixture(scope="module")
def base():
    tokenizer = train_tokenizer(
        [*CONTEXTS, *[" Z W"] * 9], 300
    )  # these two are one token each, the choices several
    return build_tiny(tokenizer, 32, 4, 0, spread=0.2).eval().requires_grad_(False), tokenizer


@pytest.fixture
def edited(base):
    """The base with an adapter whose edits are large."""
    model, tokenizer = base
    adapter = Adapter(
        model, AdapterConfig([1, 2], base={"id": "base", "fingerprint": fingerprint(model)}), seed=3
    )
    for edit in adapter.edits.values():
        edit.learned_source.bias.data += 5.0
    adapter.requires_grad_(False)
    with AdapterHooks(model, adapter) as adapter_hooks:
        yield EvalModel("edited", model, PromptEncoder(tokenizer), adapter_hooks)


def requests(contexts=CONTEXTS, choices=CHOICES):
    return [
        Instance("loglikelihood", {}, (context, choice), i)
        for i, (context, choice) in enumerate((c, o) for c in contexts for o in choices)
    ]


def by_hand(eval_model, context, choice):
    """One forward of the whole text, edited at the context's last token: log p and greediness of
    the choice's tokens."""
    tokenizer = eval_model.prompt_encoder.tokenizer
    before = tokenizer(context)["input_ids"]
    ids = tokenizer(context + choice)["input_ids"]
    with eval_model.adapter_hooks.at(torch.tensor([len(before) - 1])), torch.no_grad():
        logits = eval_model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    own = torch.tensor(ids[len(before) :])
    at = logits[len(before) - 1 : -1]
    return float(at.gather(1, own[:, None]).sum()), bool((at.argmax(1) == own).all())


def test_edit_sits_at_the_last_context_token(edited):
    got = GrunLM(edited).loglikelihood(requests(), disable_tqdm=True)
    expected = [by_hand(edited, *request.args) for request in requests()]
    assert [greedy for _, greedy in got] == [greedy for _, greedy in expected]
    torch.testing.assert_close(
        torch.tensor([value for value, _ in got]),
        torch.tensor([value for value, _ in expected]),
        rtol=1e-4,
        atol=1e-4,
    )
    with edited.adapter_hooks.off():
        plain = by_hand(edited, *requests()[0].args)
    assert abs(plain[0] - expected[0][0]) > 0.01  # the edit does something


@pytest.mark.parametrize("size", [1, 2])
def test_batched_is_single(edited, size):
    values = [
        [
            value
            for value, _ in GrunLM(edited, batch_size=own).loglikelihood(
                requests(), disable_tqdm=True
            )
        ]
        for own in (size, 32)
    ]
    torch.testing.assert_close(*map(torch.tensor, values), rtol=1e-4, atol=1e-4)


def test_without_an_adapter_it_is_lm_evals_own_model(base):
    model, tokenizer = base
    ours = GrunLM(EvalModel("plain", model, PromptEncoder(tokenizer))).loglikelihood(
        requests(), disable_tqdm=True
    )
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1).loglikelihood(
        requests(), disable_tqdm=True
    )
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    torch.testing.assert_close(
        torch.tensor([v for v, _ in ours]),
        torch.tensor([v for v, _ in theirs]),
        rtol=1e-4,
        atol=1e-4,
    )


def test_choices_share_one_pass_of_their_context(edited):
    """Three contexts, four choices: one pass over 3 rows; choices of one token need no more, each
    longer one a pass over its own tokens."""
    seen = []
    handle = edited.model.register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    lm = GrunLM(edited)
    lm.loglikelihood(requests(choices=[" Z", " W"]), disable_tqdm=True)
    width = max(len(edited.prompt_encoder.tokenizer(context)["input_ids"]) for context in CONTEXTS)
    assert seen == [(3, width)]
    seen.clear()
    lm.loglikelihood(requests(), disable_tqdm=True)
    handle.remove()
    assert (
        seen[0] == (3, width)
        and len(seen) == 5
        and all(rows == 3 and columns < width for rows, columns in seen[1:])
    )


def test_a_rolling_text_has_no_prompt_and_is_not_edited(edited):
    text = [Instance("loglikelihood_rolling", {}, ("Question: Which root gives Zovoine?",), 0)]
    with edited.adapter_hooks.off():
        plain = GrunLM(
            EvalModel("plain", edited.model, edited.prompt_encoder)
        ).loglikelihood_rolling(text, disable_tqdm=True)
    assert GrunLM(edited).loglikelihood_rolling(text, disable_tqdm=True) == pytest.approx(
        plain, rel=1e-5
    )


def test_next_tokens_are_those_of_the_edited_model(edited):
    prompts = [edited.prompt_encoder.tokenizer(context)["input_ids"] for context in CONTEXTS]
    together = GrunLM(edited).next_tokens(prompts)
    for row, ids in zip(together, prompts, strict=True):
        with edited.adapter_hooks.at(torch.tensor([len(ids) - 1])), torch.no_grad():
            torch.testing.assert_close(
                row, edited.model(input_ids=torch.tensor([ids])).logits[0, -1], rtol=1e-4, atol=1e-4
            )


def test_lm_evals_command_knows_it(base, edited, tmp_path):
    """`python -m eval.scoring.lm_eval_model`, offline, with a local task: the accuracy in its
    results is that of the requests by hand."""
    model, tokenizer = base
    save_model(tmp_path, model, tokenizer)
    edited.adapter_hooks.adapter.save(tmp_path / "adapter")
    rows = [
        {"question": context, "choices": [choice.strip() for choice in CHOICES], "answer": 1}
        for context in CONTEXTS
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "toy",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
    }
    (tmp_path / "toy.yaml").write_text(json.dumps(task))
    where = f"pretrained={tmp_path}/model,adapter={tmp_path}/adapter"
    words = [
        "--model",
        "grun",
        "--model_args",
        where,
        "--include_path",
        str(tmp_path),
        "--tasks",
        "toy",
        "--device",
        "cpu",
    ]
    words += ["--output_path", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "eval.scoring.lm_eval_model", "run", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = (tmp_path / "out").rglob("results_*.json")
    best = [
        max(range(4), key=lambda i: by_hand(edited, context, CHOICES[i])[0]) for context in CONTEXTS
    ]
    assert json.loads(path.read_text())["results"]["toy"]["acc,none"] == pytest.approx(
        sum(i == 1 for i in best) / 3
    )
