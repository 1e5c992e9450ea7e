"""`grun.load` as the README shows it, in a fresh process."""

import re
import subprocess
import sys

import torch
from transformers import GenerationConfig

import grun
from tests.toy import ROOT
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
