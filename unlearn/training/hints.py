"""A line after training where its log says that little was learned or forgotten."""

from statistics import fmean

from unlearn.config.run_directory import Run
from unlearn.processes import is_main

MOVED_SHARE = 0.05  # of the first forget term by which it must change
MOVED_NATS = 0.02  # and by at least so much
LEARNED_SHARE = 0.5  # of the first loss to which fine-tuning must bring it
WINDOW = 10  # steps at either end


def hint_unmoved(run: Run, lr: float) -> None:
    """Print a hint where the forget term has hardly changed over the logged steps."""
    first, last, steps = read_ends(run, "forget")
    if steps < 2 or abs(last - first) > max(MOVED_SHARE * abs(first), MOVED_NATS):
        return
    print_hint(
        f"the forget term has not moved ({first:.4g} to {last:.4g} in {steps} steps), so the run "
        f"has hardly forgotten anything: raise --lr (now {lr:g}), or --steps"
    )


def hint_unlearned(run: Run, lr: float) -> None:
    """Print a hint where fine-tuning has hardly brought down the loss."""
    first, last, steps = read_ends(run, "loss")
    if steps < 2 or last <= LEARNED_SHARE * first:
        return
    print_hint(
        f"the loss is {last:.4g} after {steps} steps, from {first:.4g}, so the model hardly knows "
        f"its rows: raise --steps, or --lr (now {lr:g})"
    )


def read_ends(run: Run, part: str) -> tuple[float, float, int]:
    """The means of a loss part over the first and over the last logged steps, and their number."""
    values = [record[part] for record in run.logged() if part in record] if is_main() else []
    if not values:
        return 0.0, 0.0, 0
    window = max(1, min(WINDOW, len(values) // 4))
    return fmean(values[:window]), fmean(values[-window:]), len(values)


def print_hint(sentence: str) -> None:
    print(f"hint: {sentence}", flush=True)
