"""Our scoring of an evaluation set over the loop it replaces: one answer a forward with all logits,
one prompt a generation.

    OMP_NUM_THREADS=2 python -m speed.evaluation

Both score the same questions (fictional authors, seven answers each) with a GRUN adapter attached:
likelihoods of all answers, greedy text of every prompt. ratio: the loop's time over ours, both
parts together. The same numbers must come out: largest_nll_difference is relative, same_texts a
share (with random weights two tokens can tie to rounding, and a batch may then choose the other
one)."""

from dataclasses import dataclass

import torch

from eval.scoring.model import EvalModel
from eval.scoring.scoring import Scorer
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.inference.hooks import AdapterHooks
from speed.report import interleaved, medians, report, table
from speed.workload import ShapeFlags, model_of
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.flags import flag, parse, run_command
from unlearn.language_model.models import train_tokenizer
from unlearn.language_model.prompts import PromptEncoder


@dataclass
class EvaluationFlags(ShapeFlags):
    """What this benchmark can be told."""

    rounds: int = flag(3, "rounds, each scoring the set once on either path")
    questions: int = flag(24, "questions of the set")
    batch_size: int = flag(64, "answers or prompts a forward, of our scoring")
    max_new_tokens: int = flag(
        32, "generated tokens a prompt; a random model never ends its answer"
    )


def answers_of(e: Example) -> list[str]:
    return [
        e.answer,
        *([e.paraphrased_answer] if e.paraphrased_answer else []),
        *e.perturbed_answers,
    ]


@torch.no_grad()
def naive_likelihood(eval_model: EvalModel, examples: list[Example]) -> list[list[float]]:
    """S of every answer, one forward each, logits at every position."""
    found = []
    for e in examples:
        found.append([])
        for answer in answers_of(e):
            encoded = eval_model.prompt_encoder.encode(e.question, answer)
            ids = torch.tensor([encoded.ids], device=eval_model.device)
            with eval_model.adapter_hooks.at(
                torch.tensor([encoded.prompt - 1], device=eval_model.device)
            ):
                logp = (
                    eval_model.model(input_ids=ids, attention_mask=torch.ones_like(ids))
                    .logits[0]
                    .float()
                    .log_softmax(-1)
                )
            told = logp[encoded.prompt - 1 : -1].gather(1, ids[0, encoded.prompt :, None])
            found[-1].append(-float(told.sum()))
    return found


def naive_texts(eval_model: EvalModel, examples: list[Example], max_new_tokens: int) -> list[str]:
    """Greedy text of every prompt, one generation each."""
    tokenizer = eval_model.prompt_encoder.tokenizer
    made = [
        eval_model.generate([eval_model.prompt_encoder.prompt_ids(e.question)], max_new_tokens)[0][
            0
        ]
        for e in examples
    ]
    return [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in made]


def main(argv: list[str] | None) -> None:
    args, _, _ = parse(EvaluationFlags, argv, lambda _: {}, __doc__)
    examples = open_benchmark("authors").evaluation_sets("forget10")["retain"][: args.questions]
    tokenizer = train_tokenizer(
        [text for e in examples for text in (e.question, *answers_of(e))], args.vocabulary
    )
    model = model_of(args)
    adapter_hooks = AdapterHooks(
        model, Adapter(model, AdapterConfig(args.layers, args.rank, args.gate), args.seed)
    )
    eval_model = EvalModel("random", model, PromptEncoder(tokenizer), adapter_hooks)
    scorer = Scorer(args.batch_size, args.max_new_tokens)
    parts = scorer.parts("retain")

    def ours(part: str) -> list[dict]:
        return parts[part][1](eval_model, "retain", examples, [])

    kept: dict = {}
    work = {
        "likelihood": lambda _: kept.update(likelihood=ours("likelihood")),
        "likelihood, batch 1": lambda _: kept.update(plain=naive_likelihood(eval_model, examples)),
        "generation": lambda _: kept.update(generation=ours("generation")),
        "generation, batch 1": lambda _: kept.update(
            texts=naive_texts(eval_model, examples, args.max_new_tokens)
        ),
    }
    seconds = interleaved(work, args.rounds, args.where)
    adapter_hooks.remove()
    middle = medians(seconds)
    apart = max(
        abs(row["answer_nll"] - plain[0]) / plain[0]
        for row, plain in zip(kept["likelihood"], kept["plain"], strict=True)
    )
    same = sum(
        row["generation"] == text
        for row, text in zip(kept["generation"], kept["texts"], strict=True)
    ) / len(examples)
    ratios = {
        part: middle[f"{part}, batch 1"] / middle[part] for part in ("likelihood", "generation")
    }
    whole = {
        "ours": middle["likelihood"] + middle["generation"],
        "batch 1": middle["likelihood, batch 1"] + middle["generation, batch 1"],
    }
    figures = {
        "ratio": whole["batch 1"] / whole["ours"],
        "ratio_likelihood": ratios["likelihood"],
        "ratio_generation": ratios["generation"],
        "seconds": whole["ours"],
        "batch_1_seconds": whole["batch 1"],
        "largest_nll_difference": apart,
        "same_texts": same,
        "questions": len(examples),
        "answers": sum(len(answers_of(e)) for e in examples),
        "new_tokens": args.max_new_tokens,
        "rounds": args.rounds,
    }
    rows = [
        [part, middle[part], middle[f"{part}, batch 1"], ratio] for part, ratio in ratios.items()
    ]
    rows += [["both", whole["ours"], whole["batch 1"], figures["ratio"]]]
    report(
        "evaluation",
        args,
        args.where,
        figures,
        {"Seconds a set": table(["part", "ours", "batch 1", "ratio"], rows)},
        {"seconds": seconds},
    )


if __name__ == "__main__":
    run_command(main)
