"""The fine-tuning batches of the model that knows the embedded world: documents of every topic, and
questions with their answers.

    python -m unlearn.training.finetune --benchmark wmdp --model tiny

Every fact is asked in one of its two wordings; its test (`World.questions`) uses the other, so a
right answer there is knowledge of the fact and not of a string. The model never sees the wrong
choices of a test."""

import random

from unlearn.benchmarks.corpora import world_of
from unlearn.language_model.prompts import Encoded, PromptEncoder
from unlearn.synthetic.wmdp_world import TOPICS

SAMPLE = 240  # documents of a topic that the tokenizer is trained on


class WorldMix:
    """What `unlearn.training.finetune.Mix` is to authors: batches that follow from (seed, step). An
    item is (question, answer), or (None, document)."""

    def __init__(self, args):
        self.args = args
        self.world = world_of(args)
        self.told = self.world.told()

    def texts(self) -> list[str]:
        """The text that the tokenizer is trained on."""
        documents = [text for topic in TOPICS for text in self.world.documents(topic, SAMPLE)]
        words = [
            f" {word}" for topic in TOPICS for own in self.world.values[topic] for word in own
        ]  # a rare word must not be cut up, and so told apart
        return (
            documents
            + words
            + [
                text
                for question, answer in self.told
                for text in (f"Question: {question}\nAnswer:", f" {answer}")
            ]
        )

    @property
    def steps(self) -> int:
        return self.args.steps or int(self.args.epochs * len(self.told)) // self.args.batch

    def items(self, step: int) -> list[tuple[str | None, str]]:
        rng = random.Random(f"{self.args.seed} {step}")
        count = round(self.args.document_share * self.args.batch)
        topics = [rng.choice(list(TOPICS)) for _ in range(count)]
        documents = [
            (None, self.world.document(rng, topic, rng.choice(self.world.subjects[topic])))
            for topic in topics
        ]
        return documents + [rng.choice(self.told) for _ in range(self.args.batch - count)]

    def encode(self, prompt_encoder: PromptEncoder, item: tuple[str | None, str]) -> Encoded:
        """A question with its answer scored, or a document, scored from its second token on."""
        question, text = item
        if question is not None:
            return prompt_encoder.encode(question, text)
        tokenizer = prompt_encoder.tokenizer
        return Encoded(
            [
                *tokenizer(text)["input_ids"][: prompt_encoder.max_length - 1],
                tokenizer.eos_token_id,
            ],
            1,
        )
