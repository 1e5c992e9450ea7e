"""torch.compile: compiled code must notice that adapters come, go and are switched off.

As shipped, dynamo does not check a module's hooks before it runs compiled code again: code of the
base would run for the edited model, of another model of that class too, and the other way round.
"""

import torch._dynamo
from torch._dynamo import config

SETTING = "skip_nnmodule_hook_guards"


def watch_hooks() -> None:
    """Let compiled code check which hooks a module has, for the rest of the process.

    Code that was compiled without that check is dropped, and is compiled again when it is needed.
    """
    if not getattr(config, SETTING):
        return
    setattr(config, SETTING, False)
    # a value that is set belongs to one thread; the default is that of all threads
    config._config[SETTING].default = False
    torch._dynamo.reset()


def drop_compiled_code() -> None:
    """Drop compiled code, so that adapters which come and go do not use up dynamo's recompiles."""
    torch._dynamo.reset()
