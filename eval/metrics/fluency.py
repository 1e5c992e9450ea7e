"""Are a model's answers still language? A classifier from a hub where one is named, and a measure
of this repository that needs no download (import only). Higher is better.

    fluency        mean over the forget generations of a classifier's probability of class 0,
                   `clean`; an empty generation counts 0 (OpenUnlearning: forget_Q_A_gibberish, with
                   madhurjindal/autonlp-Gibberish-Detector-492513457)
    fluency_ours   mean over the same of distinct * plausible, in [0, 1]; in no paper
        distinct   different word pairs / word pairs: 1 without repetition, near 0 for a loop; 1 for
                   a single word
        plausible  min(1, exp(H_true - H)): H is a text's mean -log p per character under a
                   character model of the benchmark's own sentences (answers and refusals), H_true
                   that of sentences it was not built from. It measures the spelling and phrasing of
                   the benchmark, not truth
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from unlearn.language_model.devices import resolve_device

ORDER = 6  # of the character model: the predicted character and the five before it
MAX_TEXTS = 1000  # sentences that the character model is built from at most
END = "\n"  # before and after every text


class CharacterModel:
    """p(character | the ORDER - 1 before it) from counts, interpolated over ever shorter contexts
    by the rule of Witten and Bell (1991):

        p(c | h) = (count(h c) + T(h) p(c | h')) / (count(h) + T(h))

    T(h): different characters seen after h; h': h without its first character; p(c) without any
    context starts from 1 / 256.
    """

    def __init__(self, texts: Sequence[str]):
        if not texts:
            raise ValueError("the character model of fluency_ours needs texts, none came")
        # shuffled, for in the files every n-th row is alike
        self.texts = random.Random(0).sample(list(texts), min(len(texts), MAX_TEXTS))

    @cached_property
    def counts(self) -> dict[str, Counter]:
        """context -> how often each character follows it."""
        return count_characters(self.texts)

    def probability(self, context: str, character: str) -> float:
        """p(character | context)."""
        p = 1 / 256
        for length in range(len(context) + 1):
            seen = self.counts.get(context[len(context) - length :])
            if seen is None:
                break
            p = (seen[character] + len(seen) * p) / (seen.total() + len(seen))
        return p

    def nats(self, text: str) -> float:
        """H: mean -log p over the text's characters and its end."""
        padded = END + text.strip() + END
        logp = [
            math.log(self.probability(padded[max(0, i - ORDER + 1) : i], padded[i]))
            for i in range(1, len(padded))
        ]
        return -sum(logp) / len(logp)

    @cached_property
    def true_nats(self) -> float:
        """H_true: each half of the sentences under the model of the other half."""
        if len(self.texts) < 2:
            return self.nats(self.texts[0])
        halves = self.texts[::2], self.texts[1::2]
        models = [CharacterModel(half) for half in halves]
        nats = [
            model.nats(text)
            for model, other in zip(models, reversed(halves), strict=True)
            for text in other
        ]
        return sum(nats) / len(nats)

    def fluency(self, text: str) -> float:
        """distinct * plausible; 0 of an empty text."""
        if not text.split():
            return 0.0
        return distinct(text) * min(1.0, math.exp(self.true_nats - self.nats(text)))


def count_characters(texts: Sequence[str]) -> dict[str, Counter]:
    """context (0 to ORDER - 1 characters) -> how often each character follows it."""
    counts: defaultdict[str, Counter] = defaultdict(Counter)
    for text in texts:
        padded = END + text.strip() + END
        for i in range(1, len(padded)):
            for start in range(max(0, i - ORDER + 1), i + 1):
                counts[padded[start:i]][padded[i]] += 1
    return dict(counts)


def distinct(text: str) -> float:
    """Different pairs of neighbouring words / all pairs; 1 where there is no pair."""
    words = text.lower().split()
    pairs = list(zip(words, words[1:], strict=False))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


class Classifier:
    """A text classifier whose class 0 is clean text, by hub id or folder; loaded when first used.

    max_length: tokens of a text that are read; OpenUnlearning reads 32 for TOFU, 512 for MUSE.
    """

    def __init__(self, name: str, device: str = "auto", max_length: int = 32, batch_size: int = 64):
        self.name = name
        self.device = resolve_device(device)
        self.max_length = max_length
        self.batch_size = batch_size

    @cached_property
    def tokenizer_and_model(self):
        """Both from the hub or the folder. Raises `ValueError` where they cannot be loaded."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.name)
            model = AutoModelForSequenceClassification.from_pretrained(self.name)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"--gibberish {self.name} could not be loaded: {reason}; leave it out, and "
                "fluency_ours alone is measured"
            ) from None
        return tokenizer, model.to(self.device).eval()

    @torch.no_grad()
    def clean(self, texts: Sequence[str]) -> list[float]:
        """p(class 0) of every text; 0 of an empty one."""
        tokenizer, model = self.tokenizer_and_model
        probabilities = [0.0] * len(texts)
        nonempty = [i for i, text in enumerate(texts) if text.strip()]
        for start in range(0, len(nonempty), self.batch_size):
            indices = nonempty[start : start + self.batch_size]
            batch = tokenizer(
                [texts[i] for i in indices],
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            ).to(self.device)
            clean = model(**batch).logits.float().softmax(-1)[:, 0].tolist()
            for i, probability in zip(indices, clean, strict=True):
                probabilities[i] = probability
        return probabilities
