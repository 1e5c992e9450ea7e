"""Models, tokenizers, prompts and batches."""
