"""Data by benchmark: splits, corpora, questions, fine-tuning batches."""
