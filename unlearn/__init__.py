"""What every unlearning method stands on: prompts, data, batches, objectives, models, runs and the
loop."""

from unlearn.processes import stop_quietly

stop_quietly()
