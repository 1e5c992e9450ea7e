"""What the measurements run on: a Llama with random weights, and examples of TOFU's lengths.

Lengths are drawn, since only they matter to time. Prompts and answers (with EOS) are log-normal
with means 29.3 and 41.2 tokens and log-deviations 0.25 and 0.43, cut to 12..90 and 6..160. TOFU's
own texts have such means under a small byte-pair encoding, and these deviations. With --data_dir
the texts are TOFU's own, under a tokenizer of --vocabulary entries that is trained on them.
"""

import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from speed.options import FIRST_TOKEN, ShapeOptions
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.language_model.devices import resolve_dtype
from unlearn.language_model.from_scratch import build_tiny, train_tokenizer
from unlearn.language_model.loading import save_model
from unlearn.language_model.prompts import Encoded, PromptEncoder
from unlearn.training.sampler import ForgetRetainSampler

BOS, EOS = 1, 2  # token ids of the drawn texts; 0 pads


class Lengths(NamedTuple):
    """A log-normal distribution of token counts, cut to shortest..longest."""

    mean: float
    log_deviation: float
    shortest: int
    longest: int


PROMPT_LENGTHS = Lengths(29.3, 0.25, 12, 90)
ANSWER_LENGTHS = Lengths(41.2, 0.43, 6, 160)


class DrawnPromptEncoder:
    """Stands in for a PromptEncoder: the tokens of a text are drawn from its hash."""

    def __init__(self, vocabulary: int, seed: int):
        self.vocabulary = vocabulary
        self.seed = seed
        self.tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=EOS)

    def draw(self, text: str, lengths: Lengths) -> list[int]:
        """Random tokens, one fewer than the drawn length: BOS or EOS is to be added."""
        rng = random.Random(f"{self.seed} {text}")
        log_mean = math.log(lengths.mean) - lengths.log_deviation**2 / 2
        length = round(math.exp(rng.gauss(log_mean, lengths.log_deviation)))
        length = max(lengths.shortest, min(length, lengths.longest))
        return [rng.randrange(FIRST_TOKEN, self.vocabulary) for _ in range(length - 1)]

    def prompt_ids(self, question: str) -> list[int]:
        return [BOS, *self.draw(question, PROMPT_LENGTHS)]

    def encode(self, question: str, answer: str) -> Encoded:
        prompt = self.prompt_ids(question)
        return Encoded([*prompt, *self.draw(answer, ANSWER_LENGTHS), EOS], len(prompt))


class Data(NamedTuple):
    """Forget examples, retain examples, and what turns them into tokens."""

    forget: list[Example]
    retain: list[Example]
    prompt_encoder: PromptEncoder | DrawnPromptEncoder


def load_data(options: ShapeOptions) -> Data:
    """The examples of a measurement, drawn or TOFU's.

    Raises `ValueError` where TOFU has fewer examples than asked for.
    """
    if options.data_dir is None:
        forget, retain = (
            [Example(i, f"{name} question {i}", f"{name} answer {i}") for i in range(size)]
            for name, size in (("f", options.forget), ("r", options.retain))
        )
        return Data(forget, retain, DrawnPromptEncoder(options.vocabulary, options.seed))
    full = open_benchmark("tofu", data_dir=options.data_dir).examples("full")
    if options.forget + options.retain > len(full):
        raise ValueError(
            f"--forget {options.forget} and --retain {options.retain} exceed TOFU's "
            f"{len(full)} examples"
        )
    tokenizer = train_tokenizer(qa_texts(full), options.vocabulary)
    forget = full[len(full) - options.forget :]
    return Data(forget, full[: options.retain], PromptEncoder(tokenizer))


def qa_texts(examples: list[Example]) -> list[str]:
    """The examples as texts in the question-answer template."""
    return [f"Question: {e.question}\nAnswer: {e.answer}" for e in examples]


def build_model(options: ShapeOptions) -> nn.Module:
    """A frozen Llama with random weights, made on its device.

    The global random generators are left as they were.
    """
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=options.mlp_width,
        num_hidden_layers=options.depth,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        head_dim=options.hidden // options.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    dtype = resolve_dtype(options.dtype, options.torch_device)
    with torch.random.fork_rng(), torch.device(options.torch_device):
        torch.manual_seed(options.seed)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval().requires_grad_(False)


def save_base(options: ShapeOptions, folder: Path) -> Path:
    """Save a random base of this depth and width, for commands that run whole; returns its path.

    Its tokenizer is trained on the benchmark `authors`.
    """
    texts = qa_texts(open_benchmark("authors").examples("full"))
    tokenizer = train_tokenizer(texts, options.vocabulary)
    model = build_tiny(tokenizer, options.hidden, options.depth, options.seed)
    save_model(folder, model, tokenizer)
    return folder / "model"


def build_sampler(
    options: ShapeOptions, forget: list[Example], retain: list[Example]
) -> ForgetRetainSampler:
    """The batches of a run."""
    return ForgetRetainSampler(forget, retain, ["I don't know."], options.batch, options.seed)
