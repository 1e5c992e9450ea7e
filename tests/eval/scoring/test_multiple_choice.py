"""Four-choice questions: lm-eval's prompts, and those of GRUN's script."""

import json
from pathlib import Path

import lm_eval
import yaml

from eval.scoring.multiple_choice import GRUN_HEADER, build_grun_prompts, write_tasks
from unlearn.benchmarks.opening import open_benchmark

KEYS = (
    "description",
    "doc_to_text",
    "doc_to_choice",
    "doc_to_target",
    "num_fewshot",
    "output_type",
    "metric_list",
)


def test_letters_are_asked_as_in_lm_evals_wmdp(tmp_path):
    """A local file's task differs from the installed wmdp_cyber in its data alone."""
    folder = Path(lm_eval.__file__).parent / "tasks" / "wmdp"
    expected = yaml.safe_load((folder / "_default_template_yaml").read_text())
    expected |= yaml.safe_load((folder / "wmdp_cyber.yaml").read_text())
    test = tmp_path / "wmdp_cyber_sample.jsonl"
    test.write_text('{"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 2}\n')
    tasks = write_tasks(tmp_path / "tasks", [str(test)], "letters", open_benchmark("wmdp"))
    task = json.loads((tmp_path / "tasks" / f"{tasks[str(test)]}.yaml").read_text())
    assert {key: task[key] for key in KEYS} == {key: expected[key] for key in KEYS}


def test_grun_prompts_draw_the_place_of_the_right_answer():
    """Questions are shuffled, and the prompt ends in a space."""
    questions = open_benchmark("wmdp", authors=2).questions("locks")
    prompts = build_grun_prompts(questions, 6)
    assert len(prompts) == 6 and prompts == build_grun_prompts(questions, 6)
    by_text = {question.question: question for question in questions[:6]}
    for text, place in prompts:
        header, question, *choices, last = text.split("\n")
        right = by_text[question].choices[by_text[question].answer]
        assert header == GRUN_HEADER and last == "Answer: "
        assert choices[place] == f"{'ABCD'[place]}. {right}"
    assert len({place for _, place in prompts}) > 1
