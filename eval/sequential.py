"""Requests one by one: what is forgotten and kept after each, and after one is withdrawn. For
stacks made by `python -m grun.sequential`.

    python -m eval.sequential                           every stack under runs/, under each rule
                                                        that combines the edits
    python -m eval.sequential --rules scaled sum --withdraw forget10b

Writes per-example rows, <stack>/eval/<rule>/<stage>.json, then runs/tables/sequential.md, .csv,
.tex and .png. A stage is the number of requests at work, or all but the withdrawn one. Sets: the
forget split of every request, come or not yet, retain, and held-out retain. prob is the mean of
exp(-A) of the true answer; own gate: mean over a request's split and its layers; other gates: the
same of the others, the largest; open: share of a set's prompts on which any request's gate exceeds
.5 in its last layer."""

import hashlib
import json
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from eval.metrics.tofu import rouge_recall
from eval.report.collect import find_runs
from eval.report.report import Report
from eval.scoring.batching import batch_by_length
from eval.scoring.model import EvalModel, load_eval_model
from unlearn.benchmarks.base import Benchmark
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.flags import flag, run_command
from unlearn.config.old_flags import RunFlags, parse
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import read_json, write_json
from unlearn.language_model.batches import pad

RULES = ("scaled", "sum", "max")


@dataclass
class SequentialFlags(RunFlags):
    """What the evaluation of stacks can be told."""

    stacks: list[str] = flag(
        [], "folders of requests (default: all under <runs>/*/*/sequential)", role="volatile"
    )
    rules: list[str] = flag(list(RULES), "rules to compare")
    withdraw: str | None = flag(
        None, "the request that is withdrawn at the end (default: the middle one)"
    )
    data_dir: str | None = flag(None, "folder with the benchmark's files", role="volatile")
    benchmark: str = flag("authors", "whose recipe sets max_new_tokens", role="key")
    batch_size: int = flag(64, "examples per forward", role="volatile")
    max_new_tokens: int = flag(256, "length limit of greedy generation")

    def __post_init__(self):
        if not set(self.rules) <= set(RULES):
            raise ValueError(f"--rules {' '.join(self.rules)}: choose from {', '.join(RULES)}")


def open_benchmark_of(told: dict, data_dir: str | None) -> Benchmark:
    """The benchmark that a request was trained on, as its recipe names it."""
    sizes = {name: told[name] for name in ("authors", "heldout") if told.get(name) is not None}
    return open_benchmark(
        told["benchmark"],
        data_dir=data_dir,
        data_seed=told.get("data_seed", 0),
        idk_file=told.get("idk_file"),
        **sizes,
    )


def sets_of(source: Benchmark, splits: list[str]) -> dict[str, list[Example]]:
    """What every stage is judged on."""
    common = source.evaluation_sets(splits[0])
    return {split: source.examples(split) for split in splits} | {
        name: common[name] for name in ("retain", "heldout") if name in common
    }


def stages_of(names: list[str], withdrawn: str) -> dict[str, list[str]]:
    """stage -> requests at work: 0, 1, .. all, and all but one."""
    stages = {str(count): names[:count] for count in range(len(names) + 1)}
    return stages | {f"without {withdrawn}": [name for name in names if name != withdrawn]}


@torch.no_grad()
def rows_of(eval_model: EvalModel, examples: list[Example], args: SequentialFlags) -> list[dict]:
    """generation, rougeL_recall, prob = exp(-A) and gates [K][L] (missing without requests) of
    every example."""
    prompts = [eval_model.prompt_encoder.prompt_ids(e.question) for e in examples]
    found: list = [None] * len(examples)
    for indices in batch_by_length([len(p) for p in prompts], args.batch_size):
        texts, gates = eval_model.generate([prompts[i] for i in indices], args.max_new_tokens)
        encoded = [
            eval_model.prompt_encoder.encode(examples[i].question, examples[i].answer)
            for i in indices
        ]
        probs = (
            (
                -eval_model.forward_answers(
                    pad(
                        encoded, eval_model.prompt_encoder.tokenizer.pad_token_id, eval_model.device
                    )
                ).nll_mean
            )
            .exp()
            .tolist()
        )
        for b, (i, ids) in enumerate(zip(indices, texts, strict=True)):
            text = eval_model.prompt_encoder.tokenizer.decode(ids, skip_special_tokens=True).strip()
            e = examples[i]
            row = {
                "index": e.index,
                "question": e.question,
                "answer": e.answer,
                "generation": text,
                "prob": probs[b],
            }
            row |= {"rougeL_recall": rouge_recall(text, e.answer)["rougeL_recall"]}
            found[i] = row | (
                {}
                if gates is None
                else {
                    "gates": [
                        [None if g != g else g for g in layers]
                        for layers in gates[:, :, b].tolist()
                    ]
                }
            )
    return found


def evaluate(folder: Path, args: SequentialFlags) -> list[dict]:
    """Score one stack at every stage under every rule; return one record per (rule, stage, set).
    What is scored already is read."""
    with load_eval_model(folder, args.device, args.dtype, args.attn) as eval_model:
        adapter_hooks = eval_model.adapter_hooks
        names = adapter_hooks.names
        told = adapter_hooks.adapters[0].config.recipe
        withdrawn = args.withdraw or names[len(names) // 2]
        if withdrawn not in names:
            raise ValueError(
                f"--withdraw {withdrawn}: {folder} has the requests {', '.join(names)}"
            )
        sets = sets_of(open_benchmark_of(told, args.data_dir), names)
        records = []
        for rule in args.rules:
            adapter_hooks.combination = type(adapter_hooks.combination)(
                **adapter_hooks.combination.as_dict() | {"rule": rule}
            )
            for stage, active in stages_of(names, withdrawn).items():
                path = folder / "eval" / rule / f"{stage.replace(' ', '-')}.json"
                weights = {
                    name: digest(adapter_hooks.adapters[names.index(name)]) for name in active
                }
                settings = {
                    "weights": weights,
                    "max_new_tokens": args.max_new_tokens,
                    "combination": adapter_hooks.combination.as_dict(),
                }
                kept = read_json(path) if path.exists() and not args.overwrite else {}
                if (
                    kept.get("settings") != json.loads(json.dumps(settings))
                    or kept["sets"].keys() != sets.keys()
                ):
                    with adapter_hooks.only(active):
                        kept = {
                            "settings": settings,
                            "sets": {
                                name: rows_of(eval_model, examples, args)
                                for name, examples in sets.items()
                            },
                        }
                    write_json(path, kept)
                about = {
                    "benchmark": told["benchmark"],
                    "model": told["model"],
                    "objective": told["objective"],
                    "seed": told["seed"],
                    "stack": str(folder),
                }
                about |= {
                    "rule": rule,
                    "stage": stage,
                    "c": adapter_hooks.combination.scale(len(active)) if active else None,
                    "requests": len(active),
                }
                records += [
                    about | {"set": name} | summary(name, rows, active)
                    for name, rows in kept["sets"].items()
                ]
        print(f"evaluated {folder}: {len(names)} requests, {', '.join(args.rules)}", flush=True)
        return records


def digest(adapter: nn.Module) -> str:
    """16 hex digits over an adapter's numbers."""
    return hashlib.sha256(
        b"".join(t.float().cpu().numpy().tobytes() for t in adapter.state_dict().values())
    ).hexdigest()[:16]


def summary(name: str, rows: list[dict], active: list[str]) -> dict:
    """Means over one set's rows; gates as in the module docstring, missing where there are none."""
    told = {
        "rouge": sum(r["rougeL_recall"] for r in rows) / len(rows),
        "prob": sum(r["prob"] for r in rows) / len(rows),
    }
    if "gates" not in rows[0]:
        return told
    gates = torch.tensor(
        [
            [[float("nan") if g is None else g for g in layers] for layers in r["gates"]]
            for r in rows
        ]
    )  # [B, K, L]
    means = dict(zip(active, gates.nanmean((0, 2)).tolist(), strict=True))
    last = [
        own[:, ~own.isnan().all(0)][:, -1] for own in gates.unbind(1) if not own.isnan().all()
    ]  # each request's last gated layer
    told |= {"own_gate": means[name]} if name in means else {}
    others = [value for key, value in means.items() if key != name]
    told |= {"other_gates": max(others)} if others else {}
    return told | {"open": float((torch.stack(last) > 0.5).any(0).float().mean())}


def main(argv: list[str] | None) -> None:
    def cell(values: Namespace) -> dict:
        return recipe("eval", benchmark=values.benchmark)

    args, _, _ = parse(SequentialFlags, argv, cell, __doc__)
    folders = [Path(stack) for stack in args.stacks] or sorted(
        path.parent for path in Path(args.runs).glob("*/*/sequential/*/*/requests.json")
    )
    if not folders:
        raise ValueError(
            f'no stack of requests under {args.runs}; make one: SEQUENTIAL="forget10a forget10b" ./cmd_grun.sh'
        )
    for folder in folders:
        write_json(folder / "eval" / "stages.json", evaluate(folder, args))
    Report(find_runs(args.runs)).make(["sequential"])


if __name__ == "__main__":
    run_command(main)
