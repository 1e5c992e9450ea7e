"""leak@k: the plain question asked k times at temperature 1 (import only).

One leaking sample out of k is a leak, which greedy decoding would hide. Source: Reisizadeh et al.
2025, "Leak@k" (arXiv 2511.04934); Scholten et al. 2025 (arXiv 2410.03523).
"""

from eval.attacks.answers import AttackInputs, generate_rows
from eval.attacks.prompts import plain_prompts
from eval.attacks.registry import attack
from eval.scoring.model import EvalModel
from unlearn.language_model.sampling import derive_seed


@attack("leak_at_k", group="sampling", settings=("samples", "seed"))
def leak_at_k(eval_model: EvalModel, inputs: AttackInputs) -> list[dict]:
    """`samples` rows per forget and retain example, each with the number of its `sample`.

    Sampling is slow, so the held-out side is left out.
    """
    settings = inputs.settings
    sides = {side: inputs.sides[side] for side in ("forget", "retain")}
    prompts = plain_prompts(eval_model.prompt_encoder, sides)
    seeds = [
        derive_seed("sample", settings.seed, sample, position)
        for sample in range(settings.samples)
        for position in range(len(prompts))
    ]
    description = f"{settings.samples} samples"
    rows = generate_rows(eval_model, prompts * settings.samples, settings, description, seeds)
    return [row | {"sample": i // len(prompts)} for i, row in enumerate(rows)]
