"""What every unlearning method stands on: prompts, data, batches, objectives, models, runs and the
loop."""
