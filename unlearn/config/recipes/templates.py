"""Documents are plain text: no question, no answer tag."""

from unlearn.config.recipes.entry import Recipe

DOCUMENT_BENCHMARKS = ("muse", "muse-news", "muse-books")

DOCUMENT_TEMPLATE = [
    Recipe(
        {"benchmark": DOCUMENT_BENCHMARKS},
        {"template": "text"},
        "MUSE (arXiv 2407.06460), baselines/dataset.py: documents are tokenised as they are",
    ),
]
