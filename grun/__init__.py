"""GRUN (arXiv 2502.17823): a gated low-rank edit at the last prompt token of a frozen model, trained around any unlearning objective."""
