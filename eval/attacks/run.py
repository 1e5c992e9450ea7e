"""Attack every finished run of one cell, and first the base that each started from.

    python -m eval.attacks.run --benchmark authors --model tiny --split forget10 python -m
    eval.attacks.run --only runs/authors/tiny/forget10/idk-grun-seed42 --attacks prefill joined

Writes <run>/attacks/<split>/<attack>.json, one file an attack with one row an example and answer,
then summary.json. What is finished is not computed again. --attacks takes attacks and groups; the
default is every attack that this device can make."""

import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from eval.attacks.aggregate import attacks_folder, base_folder, base_of, write_summary
from eval.attacks.answers import Case, ask
from eval.attacks.prompts import clean, prompt_sets
from eval.attacks.quantised import bnb, rtn
from eval.attacks.relearn import benign, forget_half, forget_set, relearn
from eval.attacks.sampling import leak_at_k
from eval.attacks.whitebox import gate_off, logit_lens
from eval.run import EvalFlags, cell_runs
from eval.scoring.model import EvalModel, load
from unlearn.benchmarks.base import Benchmark
from unlearn.config.flags import flag, parse, place, run_command
from unlearn.config.recipes import recipe
from unlearn.config.run_directory import read_json, write_json
from unlearn.language_model.models import has_packed_kernels, resolve_device
from unlearn.training.loss import open_benchmark_of


@dataclass(frozen=True)
class Attack:
    """rows(subject, case) -> rows, none where it does not apply. reads: the flags that decide its
    rows, besides SETTINGS; own: it changes the model's weights and gets a copy, of this dtype
    (default: --dtype); merged: LoRA is part of the weights, as when it is served (gate_off takes it
    off, so it keeps it apart); packed: it needs bitsandbytes."""

    group: str
    rows: Callable[[EvalModel, Case], list[dict]]
    reads: tuple[str, ...] = ()
    own: bool = False
    merged: bool = True
    dtype: str | None = None
    packed: bool = False


def prompted(name: str, prompt_set) -> Callable[[EvalModel, Case], list[dict]]:
    return lambda eval_model, case: ask(
        eval_model, prompt_set(eval_model.prompt_encoder, case.sides), case.args, name
    )


SETTINGS = ("max_new_tokens", "rows", "idk_file", "dtype")
LEARNING = ("relearn_lr", "relearn_batch", "seed")
ATTACKS = {
    "clean": Attack("clean", prompted("clean", clean)),
    **{
        name: Attack(name.split("_")[0], prompted(name, prompt_set))
        for name, prompt_set in prompt_sets.items()
    },
    "leak_at_k": Attack("sampling", leak_at_k, ("samples", "seed")),
    "gate_off": Attack("whitebox", gate_off, merged=False),
    "logit_lens": Attack("whitebox", logit_lens),
    **{f"int{bits}_rtn": Attack("quantised", rtn(bits), own=True) for bits in (8, 4)},
    **{
        f"{scheme}_bnb": Attack("quantised", bnb(scheme), own=True, packed=True)
        for scheme in ("int8", "fp4", "nf4")
    },
    "relearn_forget": Attack("relearn", relearn(forget_set), LEARNING, own=True, dtype="float32"),
    "relearn_half": Attack("relearn", relearn(forget_half), LEARNING, own=True, dtype="float32"),
    "relearn_benign": Attack("relearn", relearn(benign), LEARNING, own=True, dtype="float32"),
}
GROUPS = tuple(dict.fromkeys(attack.group for attack in ATTACKS.values()))


@dataclass
class AttackFlags(EvalFlags):
    """What the attacks can be told. The evaluation's own flags are accepted, so that one command
    can pass its flags to both."""

    attacks: list[str] = flag(
        ["default"], f"default, groups ({', '.join(GROUPS)}) or single attacks", role="volatile"
    )
    rows: int = flag(100, "examples per side, spread evenly over each set; 0: all")
    samples: int = flag(8, "k of leak@k")
    relearn_lr: float = flag(2e-5, "learning rate of relearning (one epoch)")
    relearn_batch: int = flag(32, "examples a step of relearning")

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("rows", 0), ("samples", 1), ("relearn_lr", 0), ("relearn_batch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")
        unknown = [name for name in self.attacks if name not in ("default", *GROUPS, *ATTACKS)]
        if unknown:
            raise ValueError(
                f"--attacks {unknown[0]} is unknown; choose default, a group ({', '.join(GROUPS)}) or one of {', '.join(ATTACKS)}"
            )


def chosen(args: AttackFlags) -> list[str]:
    """The attacks asked for, in the order of ATTACKS; plain questions always come along, for
    everything is compared with them.

    Default: all that this device and installation can make. Raises `ValueError` for one asked for
    by name that needs bitsandbytes, where it is missing."""
    packed = has_packed_kernels(resolve_device(args.device))
    installed = find_spec("bitsandbytes") is not None
    names = {
        name
        for name, attack in ATTACKS.items()
        if name == "clean" or name in args.attacks or attack.group in args.attacks
    }
    missing = [name for name, attack in ATTACKS.items() if attack.packed and not installed]
    if names & {name for name in missing if name in args.attacks}:
        raise ValueError(
            f"{', '.join(missing)} need bitsandbytes: pip install bitsandbytes, or ask for round-to-nearest alone (int8_rtn int4_rtn)"
        )
    if "default" in args.attacks:
        names |= {name for name, attack in ATTACKS.items() if packed or not attack.packed}
    left_out = [name for name in missing if name in names]
    if left_out:
        print(
            f"left out: {', '.join(left_out)}, which need bitsandbytes (pip install bitsandbytes)",
            flush=True,
        )
    return [name for name in ATTACKS if name in names and name not in left_out]


def case_of(source: Benchmark, args: AttackFlags) -> Case:
    """The split's examples: whole, and cut to `args.rows` a side."""
    sets = source.evaluation_sets(args.split)

    def spread(examples: list) -> list:
        count = min(args.rows or len(examples), len(examples))
        return [examples[k * len(examples) // count] for k in range(count)]

    return Case(
        {side: spread(sets[side]) for side in ("forget", "retain", "heldout") if side in sets},
        sets,
        args,
    )


def opened(model: str | Path, args: AttackFlags, attack: Attack) -> EvalModel:
    """The model, loaded as this attack needs it. Raises `ValueError` whatever is wrong with its
    files."""
    try:
        return load(
            model, args.device, attack.dtype or args.dtype, args.attn, attack.own, attack.merged
        )
    except ValueError:
        raise
    except Exception as error:  # a damaged or foreign checkpoint fails in many ways
        raise ValueError(
            f"could not be loaded ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else '-'})"
        ) from error


def attack_model(model: str | Path, folder: Path, case: Case, names: list[str]) -> str:
    """Make those of the attacks on one model that `folder` does not hold yet; return what was done,
    in words.

    A `ValueError` of one attack (no bitsandbytes, an unknown architecture) does not keep the others
    from being made; it is raised at the end."""
    args = case.args
    began = time.perf_counter()
    problems = []
    made = []
    with ExitStack() as stack:
        shared = None
        # those that change weights, or want them as they were saved, last: the shared model is let
        # go before
        for name in sorted(names, key=lambda name: ATTACKS[name].own or not ATTACKS[name].merged):
            attack = ATTACKS[name]
            path = folder / f"{name}.json"
            settings = {key: getattr(args, key) for key in (*SETTINGS, *attack.reads)}
            if not args.overwrite and path.exists() and read_json(path)["settings"] == settings:
                continue
            started = time.perf_counter()
            try:
                if attack.own or not attack.merged:
                    stack.close()
                    with opened(model, args, attack) as eval_model:
                        rows = attack.rows(eval_model, case)
                else:
                    shared = shared or stack.enter_context(opened(model, args, attack))
                    rows = attack.rows(shared, case)
            except ValueError as error:
                problems.append(f"{name}: {error}")
                continue
            write_json(
                path,
                {
                    "attack": name,
                    "settings": settings,
                    "seconds": round(time.perf_counter() - started, 2),
                    "rows": rows,
                },
            )
            made.append(name)
    if problems:
        raise ValueError(f"{model}: {'; '.join(problems)}")
    return (
        f"{len(made)} attacks ({', '.join(made)}) in {time.perf_counter() - began:.1f} s"
        if made
        else "skipped, attacked before"
    )


def main(argv: list[str] | None) -> None:
    def cell(values: Namespace) -> dict:
        return recipe("attacks", benchmark=values.benchmark, model=values.model)

    args, _, plain = parse(AttackFlags, argv, cell, __doc__)
    source = open_benchmark_of(args)
    began = time.perf_counter()
    case = case_of(source, args)
    names = chosen(args)
    done = set()
    problems = []

    def attack(model: str | Path, folder: Path) -> None:
        if folder.resolve() not in done:
            done.add(folder.resolve())  # a base that failed is not tried again for every run
            print(f"{model}: {attack_model(model, folder, case, names)}", flush=True)

    for run in cell_runs(args, place(args, plain), source.retain_split(args.split)):
        try:
            attack(base_of(run), base_folder(run, args.split))
            attack(run.path, attacks_folder(run.path, args.split))
            write_summary(run, args.split)
        except (
            ValueError,
            OSError,
            KeyError,
        ) as error:  # one broken run must not keep the others from being attacked
            problems.append(
                str(error)
                if isinstance(error, ValueError)
                else f"{run.path}: {type(error).__name__}: {error}"
            )
    print(f"attacks on {args.model}, {args.split}: {time.perf_counter() - began:.1f} s", flush=True)
    if problems:
        raise ValueError("; ".join(problems))


if __name__ == "__main__":
    run_command(main)
