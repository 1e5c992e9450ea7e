"""Fine-tuning as a command: what is refused before anything is written."""

import pytest

from unlearn.training import finetune


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "retain77"], "has no set 'retain77'"),
        (["--benchmark", "wmdp", "--heldout", "2"], "leave --heldout out"),
        (["--benchmark", "wmdp", "--split", "retain90"], "one model to train here"),
        (["--split", "forget10"], "fine-tune on full"),
    ],
)
def test_bad_data_leave_no_run_behind(words, message, tmp_path):
    runs = tmp_path / "runs"
    with pytest.raises(ValueError, match=message):
        finetune.main([*words, "--runs", str(runs)])
    assert not runs.exists()
