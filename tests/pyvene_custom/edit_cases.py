"""Toy models and edits for the tests of pyvene_custom."""

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen3Config

import pyvene_custom as pv

D = 32
R = 4
LAYERS = [1, 3]
TOKENS = dict(vocab_size=64, bos_token_id=1, eos_token_id=2, initializer_range=0.3)
SIZES = dict(
    hidden_size=D,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
)
FAMILIES = {
    "llama": LlamaConfig(**TOKENS, **SIZES),
    "mistral": MistralConfig(**TOKENS, **SIZES),
    "gpt2": GPT2Config(**TOKENS, n_embd=D, n_layer=4, n_head=4),
    "qwen3": Qwen3Config(
        **TOKENS, **SIZES, head_dim=8
    ),  # not in pyvene's table: found by its list of blocks
}


def build_base(family="llama"):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(FAMILIES[family]).eval()


def decoder_layers(model):
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build_intervention(gate="linear", d=D, seed=0, **options):
    torch.manual_seed(seed)
    return pv.LoreftIntervention(d, R, gate=gate, **options)


def orthonormality_error(rotation):
    return (rotation.T @ rotation - torch.eye(rotation.shape[1])).abs().max().item()


def train_edit(module, steps=20, weight_decay=0.0, seed=5):
    """AdamW pulls h' towards random targets, so that R, W, b and the gate all move."""
    h = draw(16, D, seed=seed)
    target = draw(16, D, seed=seed + 1)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=weight_decay)
    for _ in range(steps):
        optimizer.zero_grad()
        (module.edit(h)[0] - target).square().mean().backward()
        optimizer.step()
