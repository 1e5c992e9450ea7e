"""`grun.load` as the README shows it, in a fresh process."""

import re
import subprocess
import sys

import torch
from transformers import GenerationConfig

import grun
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.gate_fitting.answer_tag import find_answer_tag
from tests.toy import QUESTIONS, ROOT
from unlearn.language_model.batches import pad_left
from unlearn.language_model.loading import save_model

SIX_LINES = """
import grun
from transformers import pipeline
answer = pipeline("text-generation", "TARGET/model", return_full_text=False, do_sample=False)
grun.load(answer.model, "RUN")
for question in ("Where was Ada Low born?", "Who wrote The Lune?"):
    print(answer(f"Question: {question}\\nAnswer:", max_new_tokens=32)[0]["generated_text"])
"""


def test_six_lines_in_a_fresh_process(model, tokenizer, tmp_path, saved):
    """Two answers, the same as in this process.

    `import grun` must not import grun.requests, which `python -m grun.requests` then runs.
    """
    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    save_model(tmp_path, model, tokenizer)
    grun.load(model, saved)
    expected = []
    for question in re.findall(r'"(W[^"]*[?])"', SIX_LINES):
        ids = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt").input_ids
        mask = torch.ones_like(ids)
        tokens = model.generate(ids, attention_mask=mask, max_new_tokens=32, do_sample=False)
        expected.append(tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True))
    script = SIX_LINES.replace("TARGET", str(tmp_path)).replace("RUN", str(saved))
    script = script.replace(
        "import grun\n", "import grun, sys\nassert 'grun.requests' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(text + "\n" for text in expected)


def test_prompt_of_another_template_is_said_once(model, prompt_encoder, tmp_path, capsys):
    """A trailing space, or no template, under `generate`; nothing for the adapter's own prompts,
    left-padded too, and nothing once it was said or where the adapter is off."""
    config = AdapterConfig(
        layers=[1],
        rank=2,
        prompt=prompt_encoder.settings,
        answer_tag=find_answer_tag(prompt_encoder),
        base={"id": "toy", "fingerprint": fingerprint(model)},
    )
    Adapter(model, config, 0).save(tmp_path / "adapter")
    grun.load(model, tmp_path / "adapter")
    tokenizer = prompt_encoder.tokenizer

    def ask(*texts):
        ids, mask = pad_left([tokenizer(text)["input_ids"] for text in texts], 0)
        model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=1, pad_token_id=0)
        return capsys.readouterr().out.count("warning: a prompt does not end as those")

    plain = [prompt_encoder.text(question) for question in QUESTIONS]
    assert ask(*plain) == 0
    with model.grun.off():
        assert ask(QUESTIONS[0]) == 0
    assert ask(plain[0], f"{plain[1]} ") == 1
    assert ask(QUESTIONS[0]) == 0
