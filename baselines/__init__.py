"""The methods that GRUN is compared with.

Any objective with full fine-tuning or LoRA, and input filters in front of an unchanged model.
"""

from unlearn.processes import stop_quietly

stop_quietly()
