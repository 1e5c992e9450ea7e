"""Batches of similar length, and progress bars over them (import only)."""

from collections.abc import Callable

from tqdm import tqdm

from eval.scoring.model import EvalModel


def batch_by_length(lengths: list[int], size: int) -> list[list[int]]:
    """Indices in batches of up to `size`, longest first: similar lengths share a batch, and memory
    runs out early or never.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + size] for i in range(0, len(order), size)]


def show_progress(eval_model: EvalModel, set_name: str, part: str) -> Callable[[list], tqdm]:
    """A progress bar over batches; none where the log is no terminal."""
    title = f"{eval_model.name} {set_name} {part}"
    return lambda batches: tqdm(batches, desc=title, leave=False, mininterval=1, disable=None)
