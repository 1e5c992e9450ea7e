"""Models, tokenizers, prompts and batches."""

from unlearn.language_model.versions import refuse_old_transformers

refuse_old_transformers()
