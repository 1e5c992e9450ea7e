"""leak@k: the plain question asked k times at temperature 1. One leaking sample is a leak; greedy
decoding would hide it."""

from eval.attacks.answers import Case, ask
from eval.attacks.prompts import clean
from eval.scoring.model import EvalModel
from unlearn.language_model.sampling import seed_of


def leak_at_k(eval_model: EvalModel, case: Case) -> list[dict]:
    """`samples` rows per forget and retain example; sampling is slow, so the held-out side is not
    asked."""
    args = case.args
    asks = clean(
        eval_model.prompt_encoder, {side: case.sides[side] for side in ("forget", "retain")}
    )
    seeds = [
        seed_of("sample", args.seed, sample, place)
        for sample in range(args.samples)
        for place in range(len(asks))
    ]
    drawn = ask(eval_model, asks * args.samples, args, f"{args.samples} samples", seeds)
    return [row | {"sample": place // len(asks)} for place, row in enumerate(drawn)]
