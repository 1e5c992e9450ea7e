"""Our scoring of an evaluation set over a plain loop with batch size 1.

    OMP_NUM_THREADS=2 python -m speed.evaluation

The loop takes one answer a forward with all logits, and one prompt a generation. Both score the
same questions (fictional authors, seven answers each) with a GRUN adapter attached: likelihoods of
all answers, greedy text of every prompt.

ratio                     the loop's time over ours, both parts together
largest_nll_difference    relative; the numbers must be the same
same_texts                share of the texts that are the same; with random weights two tokens can
                          tie to rounding, and a batch may then choose the other one
"""

from dataclasses import dataclass

import torch

from eval.scoring.model import EvalModel
from eval.scoring.questions import QuestionScorer
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from speed.options import ShapeOptions, parse_options
from speed.report import format_table, report
from speed.timing import medians, time_interleaved
from speed.workload import build_model
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.flags import flag, run_command
from unlearn.language_model.from_scratch import train_tokenizer
from unlearn.language_model.prompts import Encoded, PromptEncoder

PARTS = ("likelihood", "generation")


@dataclass
class EvaluationOptions(ShapeOptions):
    """The model, the questions, and the size of our batches."""

    rounds: int = flag(3, "rounds, each scoring the set once on either path")
    questions: int = flag(24, "questions of the set")
    batch_size: int = flag(64, "answers or prompts a forward, of our scoring")
    max_new_tokens: int = flag(
        32, "generated tokens a prompt; a random model never ends its answer"
    )


def list_answers(e: Example) -> list[str]:
    """The true answer, its paraphrase if there is one, and the perturbed answers."""
    paraphrase = [e.paraphrased_answer] if e.paraphrased_answer else []
    return [e.answer, *paraphrase, *e.perturbed_answers]


@torch.no_grad()
def sequence_nll(eval_model: EvalModel, encoded: Encoded) -> float:
    """-log p of one answer in nats, from logits at every position of one forward."""
    ids = torch.tensor([encoded.ids], device=eval_model.device)
    last_prompt_token = torch.tensor([encoded.prompt_length - 1], device=eval_model.device)
    with eval_model.adapter_hooks.at(last_prompt_token):
        output = eval_model.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    log_p = output.logits[0].float().log_softmax(-1)
    answer_log_p = log_p[encoded.prompt_length - 1 : -1].gather(
        1, ids[0, encoded.prompt_length :, None]
    )
    return -float(answer_log_p.sum())


def score_one_by_one(eval_model: EvalModel, examples: list[Example]) -> list[list[float]]:
    """The negative log-likelihood of every answer of every example, one forward each."""
    encode = eval_model.prompt_encoder.encode
    return [
        [sequence_nll(eval_model, encode(e.question, answer)) for answer in list_answers(e)]
        for e in examples
    ]


def generate_one_by_one(
    eval_model: EvalModel, examples: list[Example], max_new_tokens: int
) -> list[str]:
    """The greedy text of every prompt, one generation each."""
    encoder = eval_model.prompt_encoder
    prompts = [encoder.prompt_ids(e.question) for e in examples]
    ids = [eval_model.generate([prompt], max_new_tokens)[0][0] for prompt in prompts]
    return [encoder.tokenizer.decode(i, skip_special_tokens=True).strip() for i in ids]


def compare_results(results: dict, examples: list[Example]) -> dict:
    """How far the numbers and texts of the two paths are apart."""
    pairs = zip(results["likelihood"], results["likelihood, batch 1"], strict=True)
    differences = [abs(row["answer_nll"] - nll[0]) / nll[0] for row, nll in pairs]
    pairs = zip(results["generation"], results["generation, batch 1"], strict=True)
    same = sum(row["generation"] == text for row, text in pairs)
    return {"largest_nll_difference": max(differences), "same_texts": same / len(examples)}


def time_paths(options: EvaluationOptions, eval_model: EvalModel, examples: list[Example]):
    """(seconds of every round, results) of each path: a part, or a part with batch size 1."""
    scorer = QuestionScorer(options.batch_size, options.max_new_tokens)
    parts = scorer.parts("retain")
    work = {
        part: lambda part=part: parts[part].compute(eval_model, "retain", examples, [])
        for part in PARTS
    }
    work["likelihood, batch 1"] = lambda: score_one_by_one(eval_model, examples)
    work["generation, batch 1"] = lambda: generate_one_by_one(
        eval_model, examples, options.max_new_tokens
    )
    results: dict = {}
    paths = {
        name: lambda _, name=name, run=run: results.update({name: run()})
        for name, run in work.items()
    }
    seconds = time_interleaved(paths, options.rounds, options.torch_device)
    return seconds, results


def main(argv: list[str] | None) -> None:
    options = parse_options(EvaluationOptions, argv, __doc__)
    evaluation_sets = open_benchmark("authors").evaluation_sets("forget10")
    examples = evaluation_sets["retain"][: options.questions]
    texts = [text for e in examples for text in (e.question, *list_answers(e))]
    tokenizer = train_tokenizer(texts, options.vocabulary)
    model = build_model(options)
    config = AdapterConfig(options.layers, options.rank, options.gate)
    with AdapterHooks(model, Adapter(model, config, options.seed)) as adapter_hooks:
        eval_model = EvalModel("random", model, PromptEncoder(tokenizer), adapter_hooks)
        seconds, results = time_paths(options, eval_model, examples)
    median = medians(seconds)
    ours = sum(median[part] for part in PARTS)
    loop = sum(median[f"{part}, batch 1"] for part in PARTS)
    ratios = {part: median[f"{part}, batch 1"] / median[part] for part in PARTS}
    figures = {
        "ratio": loop / ours,
        "ratio_likelihood": ratios["likelihood"],
        "ratio_generation": ratios["generation"],
        "seconds": ours,
        "batch_1_seconds": loop,
        **compare_results(results, examples),
        "questions": len(examples),
        "answers": sum(len(list_answers(e)) for e in examples),
        "new_tokens": options.max_new_tokens,
        "rounds": options.rounds,
    }
    rows = [[part, median[part], median[f"{part}, batch 1"], ratios[part]] for part in PARTS]
    rows.append(["both", ours, loop, figures["ratio"]])
    tables = {"Seconds a set": format_table(["part", "ours", "batch 1", "ratio"], rows)}
    report("evaluation", options, figures, tables, {"seconds": seconds})


if __name__ == "__main__":
    run_command(main)
