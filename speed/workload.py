"""What the benchmarks run on: a random-weight Llama of a given shape, examples with TOFU's lengths,
and a training step on either engine.

Lengths are drawn, since only they matter to time: prompts and answers log-normal with means 29.3
and 41.2 tokens (answer with EOS) and log-deviations 0.25 and 0.43, cut to 12..90 and 6..160; TOFU's
own texts have such means under a small BPE, and these deviations. With --data_dir they are TOFU's
own, under a BPE of --vocabulary entries trained on them."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig

from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter
from grun.engines.cached import CachedEngine
from grun.engines.pyvene import PyveneEngine
from grun.engines.tuner import GrunTuner
from grun.train import GrunFlags, read
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.opening import open_benchmark
from unlearn.config.flags import flag
from unlearn.language_model.batches import Batch
from unlearn.language_model.models import (
    build_tiny,
    resolve_device,
    resolve_dtype,
    save_model,
    train_tokenizer,
)
from unlearn.language_model.prompts import Encoded, PromptEncoder
from unlearn.training.loss import UnlearningLoss
from unlearn.training.sampler import ForgetRetainSampler, UnlearningExample

PROMPT, ANSWER = (29.3, 0.25, 12, 90), (41.2, 0.43, 6, 160)  # mean, log-deviation, least, most
BOS, EOS, FIRST = 1, 2, 3  # ids of the drawn texts: 0 pads


@dataclass
class ShapeFlags:
    """The model and the data of a benchmark."""

    runs: str = flag("runs", "folder below which benchmarks/ is written")
    seed: int = flag(42, "seed of weights, lengths and batches")
    device: str = flag("auto", "auto, cpu, cuda, mps")
    dtype: str = flag("float32", "float32, bfloat16, auto")
    depth: int = flag(32, "decoder blocks")
    hidden: int = flag(512, "hidden size")
    heads: int = flag(8, "attention heads")
    kv_heads: int = flag(2, "key-value heads")
    intermediate: int | None = flag(None, "width of the MLP (default: 11/4 of the hidden size)")
    vocabulary: int = flag(2048, "vocabulary entries")
    layers: list[int] = flag([20, 25, 31], "edited blocks")
    rank: int = flag(4, "rank of the edit")
    gate: str = flag("linear", "gate of the edit")
    batch: int = flag(16, "forget examples a step, and as many retain examples")
    forget: int = flag(200, "forget examples (forget05: 200)")
    retain: int = flag(3800, "retain examples (retain95: 3800)")
    data_dir: str | None = flag(
        None, "folder of TOFU's files: its own texts instead of drawn lengths"
    )

    def __post_init__(self):
        if (
            min(
                self.depth,
                self.hidden,
                self.heads,
                self.kv_heads,
                self.batch,
                self.forget,
                self.retain,
                self.vocabulary - FIRST,
            )
            < 1
        ):
            raise ValueError(
                "--depth, --hidden, --heads, --kv_heads, --batch, --forget, --retain must be at least 1, --vocabulary at least 4"
            )

    @property
    def where(self) -> torch.device:
        return resolve_device(self.device)


class DrawnPrompter:
    """Stands in for a PromptEncoder: a question or an answer is any text, its tokens are drawn from its
    hash."""

    def __init__(self, vocabulary: int, seed: int):
        self.vocabulary = vocabulary
        self.seed = seed
        self.tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=EOS)

    def draw(self, text: str, shape: tuple[float, float, int, int]) -> list[int]:
        own, (mean, deviation, least, most) = random.Random(f"{self.seed} {text}"), shape
        length = round(math.exp(own.gauss(math.log(mean) - deviation**2 / 2, deviation)))
        return [
            own.randrange(FIRST, self.vocabulary) for _ in range(max(least, min(length, most)) - 1)
        ]

    def prompt_ids(self, question: str) -> list[int]:
        return [BOS, *self.draw(question, PROMPT)]

    def encode(self, question: str, answer: str) -> Encoded:
        prompt = self.prompt_ids(question)
        return Encoded([*prompt, *self.draw(answer, ANSWER), EOS], len(prompt))


def data_of(args: ShapeFlags) -> tuple[list[Example], list[Example], PromptEncoder | DrawnPrompter]:
    """Forget examples, retain examples, and what turns them into tokens."""
    if args.data_dir is None:
        sets = [
            [Example(i, f"{name} question {i}", f"{name} answer {i}") for i in range(n)]
            for name, n in (("f", args.forget), ("r", args.retain))
        ]
        return *sets, DrawnPrompter(args.vocabulary, args.seed)
    source = open_benchmark("tofu", data_dir=args.data_dir)
    full = source.examples("full")
    tokenizer = train_tokenizer(
        [f"Question: {e.question}\nAnswer: {e.answer}" for e in full], args.vocabulary
    )
    if args.forget + args.retain > len(full):
        raise ValueError(
            f"--forget {args.forget} and --retain {args.retain} exceed TOFU's {len(full)} examples"
        )
    return full[len(full) - args.forget :], full[: args.retain], PromptEncoder(tokenizer)


def model_of(args: ShapeFlags) -> nn.Module:
    """A frozen Llama with random weights, made on its device; the global generators are left as
    they were."""
    config = LlamaConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        intermediate_size=args.intermediate or args.hidden * 11 // 4,
        num_hidden_layers=args.depth,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        head_dim=args.hidden // args.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    with torch.random.fork_rng(), torch.device(args.where):
        torch.manual_seed(args.seed)
        return (
            AutoModelForCausalLM.from_config(config, dtype=resolve_dtype(args.dtype, args.where))
            .eval()
            .requires_grad_(False)
        )


def save_base(args: ShapeFlags, room: Path) -> Path:
    """A random base of this depth and width with a tokenizer of the fictional authors, saved below
    `room`: what whole commands start from."""
    texts = [
        f"Question: {e.question}\nAnswer: {e.answer}"
        for e in open_benchmark("authors").examples("full")
    ]
    tokenizer = train_tokenizer(texts, args.vocabulary)
    save_model(room, build_tiny(tokenizer, args.hidden, args.depth, args.seed), tokenizer)
    return room / "model"


def build_sampler(
    args: ShapeFlags, forget: list[Example], retain: list[Example]
) -> ForgetRetainSampler:
    return ForgetRetainSampler(forget, retain, ["I don't know."], args.batch, args.seed)


def recipe_of(args: ShapeFlags, objective: str) -> GrunFlags:
    """The paper's values for one objective, with this benchmark's layers, rank and gate."""
    shape = [
        "--layers",
        *map(str, args.layers),
        "--rank",
        str(args.rank),
        "--gate",
        args.gate,
        "--seed",
        str(args.seed),
    ]
    return read(
        [
            "--benchmark",
            "tofu",
            "--model",
            "mistral-7b",
            "--split",
            "forget05",
            "--objective",
            objective,
            *shape,
        ]
    )[0]


class AsUpstream(UnlearningLoss):
    """Upstream's step: NPO's reference is a pass of the base model in every step."""

    def reference_nll(self, batch: Batch) -> Tensor:
        return self.tuner.reference_forward(batch).nll_sum


class Stepper:
    """One way to take training steps: an adapter of its own, from the same start as all others."""

    def __init__(
        self,
        args: ShapeFlags,
        objective: str,
        model: nn.Module,
        prompt_encoder,
        engine: Callable = CachedEngine,
        losses: Callable = UnlearningLoss,
    ):
        recipe = recipe_of(args, objective)
        self.device = next(model.parameters()).device
        self.adapter = Adapter(model, AdapterConfig(args.layers, args.rank, args.gate), args.seed)
        self.engine = engine(model, self.adapter)
        self.losses = losses(
            recipe, GrunTuner(model, self.adapter, self.engine, recipe.gate_weight), prompt_encoder
        )
        self.optimizer = torch.optim.AdamW(
            self.adapter.parameters(), lr=recipe.lr, weight_decay=0.0
        )
        self.clip = recipe.max_grad_norm

    def step(self, items: list[UnlearningExample], number: int) -> float:
        """Losses, backward, clip and update, as `unlearn.training.loop` does them; returns the
        loss."""
        loss = self.losses(items, items, number)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(self.adapter.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def bytes_per_example(self) -> int:
        """What the cached engine keeps of an example, on average."""
        return self.engine.cache.used_bytes // max(1, len(self.engine.cache.entries))


def upstream(args: ShapeFlags, objective: str, model: nn.Module, prompt_encoder) -> Stepper:
    return Stepper(args, objective, model, prompt_encoder, PyveneEngine, AsUpstream)
