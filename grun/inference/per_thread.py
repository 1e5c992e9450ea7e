"""What one thread is doing with a model: kept apart, so that a server may generate in several."""

import threading
from collections.abc import Callable, Sequence

from torch import Tensor


class PerThread(threading.local):
    """`state`: one object a thread, made by `make()`; a copy or a pickle of this starts afresh.

    The object is a plain one, since torch.compile does not see what traced code has just set on a
    thread-local itself.
    """

    def __init__(self, make: Callable[[], object]):
        self.make = make
        self.state = make()

    def __reduce__(self):
        return type(self), (self.make,)


class Blocks:
    """The adapters in force within `only()` and `off()`: their numbers, or None outside of both."""

    def __init__(self):
        self.active: Sequence[int] | None = None


class PassState:
    """One thread's passes through a model with adapters.

    blocks: the `only()` and `off()` it is in; positions: the edited tokens of the pass under way;
    logits: layer -> gate logits of its last prefill, or None before its first pass.
    """

    def __init__(self):
        self.blocks = Blocks()
        self.positions = None
        self.logits: dict[int, Tensor] | None = None
