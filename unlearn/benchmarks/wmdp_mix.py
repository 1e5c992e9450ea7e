"""The fine-tuning batches of the model that knows WMDP's embedded world.

    python -m unlearn.training.finetune --benchmark wmdp --model tiny

Every fact is asked in one of its two wordings, and its test (`World.questions`) uses the other, so
that a right answer there is knowledge of the fact and not of a string. The model never sees the
wrong choices of a test.
"""

import random

from unlearn.benchmarks.fine_tuning_mix import MixOptions
from unlearn.language_model.prompts import Encoded, PromptEncoder
from unlearn.synthetic.wmdp_world import TOPICS, World

TOKENIZER_DOCUMENTS = 240  # of a topic


class WorldMix:
    """Batches of documents and questions of every topic; batch s follows from (seed, s).

    An item is (question, answer), or (None, document). `document_share` of a batch are documents.
    """

    def __init__(self, options: MixOptions, seed: int, world: World):
        self.options = options
        self.seed = seed
        self.world = world
        self.practice_questions = world.practice_questions()

    def texts(self) -> list[str]:
        """Return the texts that the tokenizer is trained on."""
        documents = [
            text for topic in TOPICS for text in self.world.documents(topic, TOKENIZER_DOCUMENTS)
        ]
        # a rare word that was cut into more tokens would be told apart by that
        words = [
            f" {word}"
            for topic in TOPICS
            for attribute_words in self.world.values[topic]
            for word in attribute_words
        ]
        questions = [
            text
            for question, answer in self.practice_questions
            for text in (f"Question: {question}\nAnswer:", f" {answer}")
        ]
        return documents + words + questions

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        options = self.options
        epoch = len(self.practice_questions)
        return options.steps or int(options.epochs * epoch) // options.batch

    def items(self, step: int) -> list[tuple[str | None, str]]:
        """Return the items of one batch."""
        rng = random.Random(f"{self.seed} {step}")
        count = round(self.options.document_share * self.options.batch)
        topics = [rng.choice(list(TOPICS)) for _ in range(count)]
        documents = [
            (None, self.world.document(rng, topic, rng.choice(self.world.subjects[topic])))
            for topic in topics
        ]
        questions = [rng.choice(self.practice_questions) for _ in range(self.options.batch - count)]
        return documents + questions

    def encode(self, prompt_encoder: PromptEncoder, item: tuple[str | None, str]) -> Encoded:
        """Encode a question, its answer scored, or a document, scored from its second token on."""
        question, text = item
        if question is not None:
            return prompt_encoder.encode(question, text)
        tokenizer = prompt_encoder.tokenizer
        ids = tokenizer(text)["input_ids"][: prompt_encoder.max_length - 1]
        return Encoded([*ids, tokenizer.eos_token_id], 1)
