"""Toy tokenizer, models and runs for all tests; tests/conftest.py makes fixtures of them.

The texts are about two made-up authors, Ada Low (to be forgotten) and Bo Ray (to be retained).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn.benchmarks.examples import Example
from unlearn.config.run_directory import Run
from unlearn.language_model.from_scratch import build_tiny, train_tokenizer
from unlearn.training import finetune
from unlearn.training.objectives import OBJECTIVES

ROOT = Path(__file__).resolve().parents[1]  # of the repository

QUESTIONS = [
    "Where was Ada Low born?",
    "Who?",
    "Which prize did Ada Low win, and when?",
    "What is her home?",
]
ANSWERS = [
    "In Teselle.",
    "Ada.",
    "The Lune Prize, in 1912, for her third book.",
    "A house by the sea.",
]
TEXTS = [*QUESTIONS, *ANSWERS, "Question: ?\nAnswer:", "Ada Low " * 9]
FORGET = [Example(i, q, a) for i, (q, a) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))]
RETAIN = [
    Example(i, q.replace("Ada Low", "Bo Ray"), a)
    for i, (q, a) in enumerate(zip(QUESTIONS, reversed(ANSWERS), strict=True))
]

AUTHORS_FLAGS = ["--authors", "10", "--heldout", "2"]
AUTHORS_FOLDER = "authors,authors=10,heldout=2/tiny"  # of the runs with these flags
WMDP_FLAGS = ["--benchmark", "wmdp", "--authors", "2"]
WMDP_FOLDER = "wmdp,authors=2/tiny"


def build_tokenizer(texts: Sequence[str] = (), vocabulary: int = 300) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer for TEXTS and `texts`; build one only where TEXTS will not do."""
    return train_tokenizer([*TEXTS, *texts] * 3, vocabulary)


def build_model(
    tokenizer, hidden: int = 32, layers: int = 4, seed: int = 1, strength: float = 10
) -> LlamaForCausalLM:
    """A frozen random Llama in eval mode.

    `strength` multiplies the matrices of its decoder layers; at 1 its greedy text only repeats the
    last token.
    """
    model = freeze(build_tiny(tokenizer, hidden, layers, seed))
    for weight in model.model.layers.parameters():
        weight.mul_(strength if weight.dim() == 2 else 1)
    return model


def save_gpt2(
    folder: Path, positions: int = 64, chat_template: str | None = None, pad_token: str = ""
) -> Path:
    """A folder with a random GPT-2, whose embeddings are tied, and a tokenizer like GPT-2's: one
    special token, no BOS of its own and, unless `pad_token` is given, no pad token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[end], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([*TEXTS] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=end, eos_token=end)
    size = len(tokenizer)
    if pad_token:
        tokenizer.add_special_tokens({"pad_token": pad_token})
    tokenizer.chat_template = chat_template
    shape = {"n_positions": positions, "n_embd": 32, "n_layer": 4, "n_head": 2}
    config = GPT2Config(vocab_size=size, bos_token_id=0, eos_token_id=0, **shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def freeze(model: nn.Module) -> nn.Module:
    """The same model in eval mode, without gradients."""
    return model.eval().requires_grad_(False)


def finetune_toy(
    runs: Path, *flags: str, depth: int = 4, split: str = "full", steps: int = 4
) -> Path:
    """Fine-tune a tiny model for a few steps; returns its run directory.

    It is renamed to target-seed42 or reference-seed42, where commands look for it by default.
    """
    before = set(runs.glob(f"*/*/{split}/*"))
    size = ["--hidden", "32", "--depth", str(depth), "--steps", str(steps), "--batch", "8"]
    finetune.main([*flags, *size, "--split", split, "--runs", str(runs)])
    (run,) = set(runs.glob(f"*/*/{split}/*")) - before
    return run.rename(run.with_name("target-seed42" if split == "full" else "reference-seed42"))


def grun_flags(runs: Path, *flags: str) -> list[str]:
    """Flags with which grun.train edits two layers of the toy target for four steps."""
    size = ["--layers", "1", "2", "--steps", "4", "--batch", "4"]
    return [*AUTHORS_FLAGS, "--runs", str(runs), *size, *flags]


def copy_runs(runs: Path, destination: Path) -> Path:
    """A copy of a runs folder whose runs point at the target in the copy; returns `destination`."""
    shutil.copytree(runs, destination)
    for config in destination.rglob("config.json"):
        config.write_text(config.read_text().replace(str(runs), str(destination)))
    return destination


def only_run(runs: Path, pattern: str, folder: str = AUTHORS_FOLDER) -> Run:
    """The one run in `folder` whose path matches `pattern`, such as forget10/npo-grun-*."""
    (path,) = (Path(runs) / folder).glob(pattern)
    return Run(path)


def objective_parameters(name: str, width: int = 2) -> dict:
    """Values for every parameter of an objective: 0.5, or a steered state of `width` numbers."""
    parameters = dict.fromkeys(OBJECTIVES[name].parameters, 0.5)
    if OBJECTIVES[name].steers:
        return {"control_vector": torch.ones(width), "include_edited": True}
    return parameters
