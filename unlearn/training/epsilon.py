"""AdamW's eps at each step: a constant, or what makes the update that of transformers' old AdamW.

With m and v the running means of gradient and squared gradient, and t = step + 1,

    torch           w <- w - lr m / (1 - beta1^t) / (sqrt(v) / c + eps),   c = sqrt(1 - beta2^t)
    transformers    w <- w - lr m / (1 - beta1^t) c / (sqrt(v) + eps)

so torch's update with eps / c is transformers', whose eps is 32 times larger at the first step
(AdamW of transformers before version 5, which centerforaisafety/wmdp and Adaptive RMU train with).
"""

from collections.abc import Callable

BETA2 = 0.999  # torch's default, with which `unlearn.training.loop` trains


def constant_eps(eps: float) -> Callable[[int], float]:
    """The same eps at every step."""
    return lambda step: eps


def uncorrected_eps(eps: float) -> Callable[[int], float]:
    """eps / sqrt(1 - beta2^(step + 1)): eps joins sqrt(v) before its bias is corrected."""
    return lambda step: eps / (1 - BETA2 ** (step + 1)) ** 0.5
