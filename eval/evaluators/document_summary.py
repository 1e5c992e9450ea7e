"""From rows of documents to <run>/eval/muse/summary.json (import only; needs no model)."""

from pathlib import Path

from eval.metrics import muse
from eval.metrics.tofu import gate_statistics
from eval.scoring.documents import NEW_TOKENS
from unlearn.config.files import read_json, write_json

FOLDER = "muse"  # <run>/eval/muse: the sets are the same for every forget split
# what a target's VerbMem and KnowMem must reach to look trained; those of MUSE have .55 and more
TRAINED = 0.4


def write_summary(folder: Path, description: dict, mode: str, model_folder: Path) -> dict:
    """Aggregate the rows in `folder` and write summary.json beside them; return it.

    It holds `description`, the mode and a warning; verbmem, knowmem_f, knowmem_r in [0, 1] with the
    ends of their intervals (<name>_low, _high); auc, auc_retrain and where that is from, privleak;
    <set>_gate_open of gated models. model_folder: the folder of all splits' runs, where the
    reference and the target are.
    """
    summary: dict = description | {"muse_mode": mode}
    for name in NEW_TOKENS:
        summary |= summarise_set(name, read_rows(folder, name), mode)
    references = sorted(
        model_folder.glob(f"retain/reference-seed*/eval/{FOLDER}/privleak_holdout.json")
    )
    auc = compute_auc(folder, mode)
    auc_retrain = source = None
    if references:
        auc_retrain = compute_auc(references[0].parent, mode)
        source = references[0].parents[2].relative_to(model_folder).as_posix()
    else:
        auc_retrain = muse.AUC_RETRAIN.get(description["benchmark"].split(",")[0])
        source = "published" if auc_retrain else None
    summary |= {"auc": auc, "auc_retrain": auc_retrain, "auc_retrain_from": source}
    if None not in (auc, auc_retrain):
        summary["privleak"] = muse.privleak(auc, auc_retrain)
    targets = sorted(model_folder.glob(f"full/target-seed*/eval/{FOLDER}/summary.json"))
    summary["warning"] = find_warning(summary, read_json(targets[0]) if targets else None)
    write_json(folder / "summary.json", summary)
    return summary


def read_rows(folder: Path, name: str) -> list[dict]:
    """The rows of one set."""
    return read_json(folder / f"{name}.json")["rows"]


def summarise_set(name: str, rows: list[dict], mode: str) -> dict:
    """The mean ROUGE-L F1 of one set with its interval, and the share of open gates."""
    key = "rougeL_f1" if mode == "muse" else "rougeL_f1_ou"
    values = [row[key] for row in rows]
    low, high = muse.interval(values)
    summary = {name: sum(values) / len(values), f"{name}_low": low, f"{name}_high": high}
    if "gates" in rows[0]:
        _, summary[f"{name}_gate_open"] = gate_statistics([row["gates"] for row in rows])
    return summary


def compute_auc(folder: Path, mode: str) -> float | None:
    """The AUC of one evaluated model; None where it has no likelihoods."""
    sides = [
        [row.get("logprobs") for row in read_rows(folder, f"privleak_{name}")]
        for name in ("forget", "holdout")
    ]
    return None if None in (sides[0][0], sides[1][0]) else muse.auc(*sides, mode)


def find_warning(summary: dict, target: dict | None) -> str | None:
    """Why a target does not look trained, or a reference not untrained on the forget set; None
    where all is well.
    """
    problems = []
    if summary["objective"] == "target":
        problems = [
            f"{name} of the target is {summary[name]:.2f}, below {TRAINED}"
            for name in NEW_TOKENS
            if summary[name] < TRAINED
        ]
    if summary["objective"] == "reference":
        verbmem, knowmem = summary["verbmem"], summary["knowmem_r"]
        if knowmem < TRAINED:
            problems.append(f"knowmem_r of the reference is {knowmem:.2f}, below {TRAINED}")
        if target and verbmem > target["verbmem"] / 2:
            problems.append(
                f"verbmem of the reference is {verbmem:.2f}, above half the target's "
                f"{target['verbmem']:.2f}"
            )
    return "; ".join(problems) or None
