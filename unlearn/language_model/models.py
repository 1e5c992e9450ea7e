"""Models: short names, the tiny one made here, and the only place that resolves device, dtype and
attention.

load_model("llama3.1-8b"), load_model("runs/authors/tiny/full/target-seed42"),
load_model("any/hub-id")"""

import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from unlearn.config.run_directory import replace_directory

# weights load and save in moments here; runs show one progress line of their own
disable_progress_bar()


@dataclass(frozen=True)
class ModelSpec:
    """A model by short name: its hub id and prompt template (spec 1.2)."""

    hub: str
    template: str = "qa"


MODELS = {
    "tiny": ModelSpec(""),  # made here, from scratch
    "tiny-robust": ModelSpec(
        ""
    ),  # the same, trained on many forms of every question: a base on which attacks mean something
    "llama3.1-8b": ModelSpec("meta-llama/Llama-3.1-8B"),
    "llama3.2-1b": ModelSpec("meta-llama/Llama-3.2-1B"),
    "llama2-7b": ModelSpec("NousResearch/Llama-2-7b-chat-hf", "llama2"),
    "mistral-7b": ModelSpec("mistralai/Mistral-7B-v0.1"),
    "zephyr-7b": ModelSpec("HuggingFaceH4/zephyr-7b-beta"),
    "qwen2.5-0.5b": ModelSpec("Qwen/Qwen2.5-0.5B"),
    "qwen2.5-1.5b": ModelSpec("Qwen/Qwen2.5-1.5B"),
    "qwen2.5-7b": ModelSpec("Qwen/Qwen2.5-7B"),
    "gemma2-2b": ModelSpec("google/gemma-2-2b"),
    "gemma2-9b": ModelSpec("google/gemma-2-9b"),
    "phi-1.5": ModelSpec("microsoft/phi-1_5"),
    "phi-3.5-mini": ModelSpec("microsoft/Phi-3.5-mini-instruct"),
}
# official template names -> ours
TEMPLATE_NAMES = {"llama2": "llama2", "text": "text"} | dict.fromkeys(
    ("qa", "llama3", "llama3.1", "mistral", "phi", "gpt2_xl", "gpt_neo", "zephyr"), "qa"
)
QUANTISED = ("int8", "nf4", "fp4")
BLOCK_PATHS = (
    "model.layers",
    "model.language_model.layers",
    "transformer.h",
    "gpt_neox.layers",
    "model.decoder.layers",
)
NORM_PATHS = (
    "model.norm",
    "model.language_model.norm",
    "transformer.ln_f",
    "gpt_neox.final_layer_norm",
    "model.decoder.final_layer_norm",
    "model.final_layernorm",
)


def resolve_template(model: str, asked: str | None = None) -> str:
    """The prompt template: the one asked for (official names too), else the model's own, else
    `qa`."""
    if asked is None:
        return MODELS[model].template if model in MODELS else "qa"
    if asked not in TEMPLATE_NAMES:
        raise ValueError(
            f"--template {asked} is unknown; choose one of {', '.join(TEMPLATE_NAMES)}"
        )
    return TEMPLATE_NAMES[asked]


def resolve_device(asked: str = "auto") -> torch.device:
    """`auto`: this process's CUDA device, else MPS, else CPU."""
    if asked != "auto":
        try:
            device = torch.device(asked)
        except RuntimeError:
            raise ValueError(
                f"--device {asked} is unknown; choose auto, cpu, cuda, cuda:1, mps"
            ) from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"--device {asked}: this machine has no CUDA device; pass --device cpu or auto"
            )
        return device
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def resolve_dtype(asked: str, device: torch.device) -> torch.dtype:
    """`auto`: bfloat16 on CUDA, float32 elsewhere."""
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if asked == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if asked not in known:
        raise ValueError(f"--dtype {asked} is unknown; choose one of auto, {', '.join(known)}")
    return known[asked]


def mixed_precision(device: torch.device) -> str:
    """accelerate's word for training on this device: bfloat16 autocast over float32 weights on
    CUDA, plain float32 elsewhere."""
    return "bf16" if device.type == "cuda" else "no"


def free_memory(device: torch.device) -> int:
    """Bytes free on a device."""
    return (
        torch.cuda.mem_get_info(device)[0]
        if device.type == "cuda"
        else psutil.virtual_memory().available
    )


def trained_from_scratch(model: str) -> bool:
    """Whether a short name is that of a model trained from scratch by
    `unlearn.training.finetune`."""
    return model in MODELS and not MODELS[model].hub


def resolve_checkpoint(model: str) -> str:
    """Short name -> hub id; a run directory -> its model folder; anything else stays a hub id or a
    local path."""
    if trained_from_scratch(model):
        raise ValueError(
            f"{model} has no weights of its own: it is trained here; run bash cmd_finetune.sh and pass the run directory"
        )
    if model in MODELS:
        return MODELS[model].hub
    if (Path(model) / "model" / "config.json").exists():
        return str(Path(model) / "model")
    if model.startswith(("runs/", "./", "/")) and not (Path(model) / "config.json").exists():
        raise ValueError(
            f"{model} holds no model; make one with bash cmd_finetune.sh, or pass a hub id or a folder with config.json"
        )
    return model


def load_model(
    model: str, device="auto", dtype: str = "auto", attn: str = "auto", quant: str = "no", **options
) -> nn.Module:
    """An HF causal language model in eval mode with frozen parameters, on one device; its matrices
    perhaps quantised (QUANTISED)."""
    device = resolve_device(str(device))
    options |= {} if attn == "auto" else {"attn_implementation": attn}
    options |= quantisation(quant, resolve_dtype(dtype, device), device)
    source = resolve_checkpoint(model)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            source, dtype=resolve_dtype(dtype, device), **options
        )
    except OSError as error:
        raise ValueError(
            f"model {source} could not be loaded: {str(error).splitlines()[0]}"
        ) from None
    return (loaded if quant != "no" else loaded.to(device)).eval().requires_grad_(False)


def quantisation(quant: str, dtype: torch.dtype, device: torch.device) -> dict:
    """Options of from_pretrained for bitsandbytes: `int8` (LLM.int8, threshold 6), `nf4` with
    arithmetic in `dtype`, `fp4` in float32 as upstream (spec 8). Embeddings, norms and output head
    stay as they are. Raises `ValueError` for another word, without bitsandbytes, and for 4 bits on
    a CPU, where bitsandbytes 0.50 breaks on widths that are no multiple of 64 and rounds its
    scales."""
    if quant == "no":
        return {}
    if quant not in QUANTISED:
        raise ValueError(f"--quant {quant} is unknown; choose one of no, {', '.join(QUANTISED)}")
    if find_spec("bitsandbytes") is None:
        raise ValueError(f"--quant {quant} needs bitsandbytes: pip install bitsandbytes==0.50.2")
    if quant != "int8" and device.type == "cpu":
        raise ValueError(
            f"--quant {quant} needs a GPU; on a CPU bitsandbytes computes reliably in int8 only: pass --quant int8, or --device cuda"
        )
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(
        logging.ERROR
    )  # it would say at every product that it rounds to float16
    if quant == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quant,
            bnb_4bit_compute_dtype=dtype if quant == "nf4" else torch.float32,
        )
    return {
        "quantization_config": config,
        "device_map": {"": device},
    }  # packed weights are made where they will stay


def has_packed_kernels(device: torch.device) -> bool:
    """Whether bitsandbytes computes with packed weights on this device at a useful speed."""
    return device.type == "cuda"


def load_tokenizer(model: str):
    """Its tokenizer, with pad = EOS where it has no pad token. Raises `ValueError` if it has no
    EOS."""
    source = resolve_checkpoint(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except OSError as error:
        raise ValueError(
            f"tokenizer {source} could not be loaded: {str(error).splitlines()[0]}"
        ) from None
    return with_pad(tokenizer)


def with_pad(tokenizer):
    """The same tokenizer, able to pad."""
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no EOS token, so an answer could never end; set tokenizer.eos_token and save it"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save_model(
    directory: Path, model: nn.Module, tokenizer, state_dict: dict | None = None
) -> None:
    """Write directory/model, whole or not at all: weights (safetensors; those of `state_dict` where
    it is given), config, tokenizer."""

    def write(folder: Path):
        model.save_pretrained(folder, state_dict=state_dict)
        tokenizer.save_pretrained(folder)

    replace_directory(directory / "model", write)


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks. Raises `ValueError` for an architecture whose block path is not known
    here."""
    return module_at(model, BLOCK_PATHS, "decoder blocks", "BLOCK_PATHS")


def final_norm(model: nn.Module) -> nn.Module:
    """The norm between the last block and the output head. Raises `ValueError` as `decoder_layers` does."""
    return module_at(model, NORM_PATHS, "final norm", "NORM_PATHS")


def module_at(model: nn.Module, paths: tuple[str, ...], what: str, where: str) -> nn.Module:
    """The module at the first of `paths` that this model has."""
    for path in paths:
        try:
            return model.get_submodule(path)
        except AttributeError:
            continue
    raise ValueError(
        f"{type(model).__name__} keeps its {what} at no known path ({', '.join(paths)}); add it to unlearn.language_model.models.{where}"
    )


def hidden_size(model: nn.Module) -> int:
    return model.config.get_text_config().hidden_size


def check_layers(layers: list[int], depth: int) -> list[int]:
    """Layers in ascending order. Raises `ValueError` on an empty list, a repeated layer or one that
    the model does not have."""
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(
            f"--layers {' '.join(map(str, layers))}: give one or more different layers"
        )
    outside = [layer for layer in layers if not 0 <= layer < depth]
    if outside:
        raise ValueError(f"--layers: {outside[0]} is outside this model's 0..{depth - 1}")
    return sorted(layers)


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with `<s>` first, as the Llama family has it; no text is unknown to it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", special.index("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def build_tiny(
    tokenizer, hidden: int, layers: int, seed: int, spread: float = 0.02
) -> LlamaForCausalLM:
    """A small Llama with random weights (standard deviation `spread`): 4 heads over 2 key-value
    heads, tied embeddings. The global generator is left as it was."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=spread,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
