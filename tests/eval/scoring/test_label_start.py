"""A run that was trained with the answer tag among its labels is scored with it."""

import json

import numpy as np
import pytest

from eval.scoring.likelihood import score_answers
from eval.scoring.model import load_eval_model
from tests.toy import AUTHORS_FOLDER, FORGET, copy_runs
from unlearn.language_model.batches import pad


@pytest.mark.parametrize("folder", ["full/target-seed42", "forget10/gd-grun-*"])
def test_run_is_scored_from_its_label_start(toy_runs, tmp_path, folder):
    """Two answers behind each prompt: their tokens are those of a pass of their own, tag first."""
    runs = copy_runs(toy_runs, tmp_path / "runs")
    (run,) = (runs / AUTHORS_FOLDER).glob(folder)
    config = json.loads((run / "config.json").read_text())
    config["flags"]["label_start"]["value"] = "answer_tag"
    (run / "config.json").write_text(json.dumps(config))
    with load_eval_model(run) as tagged, load_eval_model(toy_runs / run.relative_to(runs)) as plain:
        assert plain.prompt_encoder.label_start == "answer"
        encode = tagged.prompt_encoder.encode
        encoded = [encode(e.question, a) for e in FORGET for a in (e.answer, "By the sea.")]
        assert all(e.scored_from < e.prompt_length for e in encoded)
        for e, tokens in zip(encoded, score_answers(tagged, encoded, 3), strict=True):
            alone = tagged.forward_answers(pad([e], 0))
            assert len(tokens) == len(e.ids) - e.scored_from
            np.testing.assert_allclose(tokens.logprobs, -alone.nll, rtol=1e-5, atol=1e-5)
