"""`grun.load` on a plain HF model: every way of decoding against one edit written out by hand, and
everything that has to be refused."""

import json
import logging
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, pipeline

import grun
from grun.adapter.fingerprint import fingerprint
from grun.adapter.folder import AdapterConfig
from grun.adapter.weights import Adapter, distance_to_orthonormal
from grun.inference.hooks import AdapterHooks
from grun.inference.positions import PromptEndLocator
from tests.toy import ROOT, build_model
from unlearn.language_model.architecture import find_decoder_layers
from unlearn.language_model.batches import pad_left
from unlearn.language_model.loading import save_model
from unlearn.language_model.prompts import PromptEncoder

QUESTIONS = [
    "Where was Ada Low born?",
    "Who?",
    "Which prize did Ada Low win, and when did she win it?",
    "What did Bo Rime write?",
    "When?",
    "In which town does Bo Rime live now?",
    "Who wrote The Lune?",
    "Which of her books came first?",
]
LAYERS = [1, 3]


@pytest.fixture
def model(model, tokenizer):
    """The toy model, whose generation never ends early."""
    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, eos_token_id=None, bos_token_id=tokenizer.bos_token_id
    )
    return model


def adapter_for(model, gate="linear", **more) -> Adapter:
    """Random numbers, with W large enough that every answer changes."""
    adapter = Adapter(
        model,
        AdapterConfig(LAYERS, 2, gate, base={"id": "x", "fingerprint": fingerprint(model)}, **more),
        seed=3,
    )
    with torch.no_grad():
        for edit in adapter.edits.values():
            edit.learned_source.weight.mul_(200)
    return adapter


@pytest.fixture
def saved(model, tmp_path):
    adapter_for(model).save(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def batch(tokenizer):
    """8 prompts, left-padded: ids, mask, and the prompts themselves."""
    prompts = [PromptEncoder(tokenizer).prompt_ids(q) for q in QUESTIONS]
    return (*pad_left(prompts, tokenizer.pad_token_id), prompts)


@contextmanager
def by_hand(model, adapter, column):
    """h' = h + sigmoid(w h + b) R (W h + b - R^T h) at one column of every pass that has it, by
    hooks of this test's own."""

    def hook(edit):
        def change(_module, _args, out):
            hidden = (out[0] if isinstance(out, tuple) else out).clone()
            h = hidden[:, column]
            rotation = edit.rotation().detach()
            gate = edit.gate.gate_func
            g = torch.sigmoid(h @ gate.weight[0] + gate.bias)
            hidden[:, column] += (
                g[:, None]
                * (h @ edit.learned_source.weight.T + edit.learned_source.bias - h @ rotation)
                @ rotation.T
            )
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        return change

    handles = [
        find_decoder_layers(model)[layer].register_forward_hook(hook(adapter.edits[str(layer)]))
        for layer in LAYERS
    ]
    with torch.no_grad():
        yield
    for handle in handles:
        handle.remove()


def generate(model, ids, mask, **more):
    torch.manual_seed(5)
    options = {"max_new_tokens": 8, "do_sample": False} | more
    return model.generate(input_ids=ids, attention_mask=mask, **options)[:, ids.shape[1] :]


DECODING = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 1.5, "top_k": 20},
    "two samples each": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 3},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "prefill in chunks": {"prefill_chunk_size": 5},
}


@pytest.mark.parametrize("how", DECODING)
def test_generation_is_that_of_the_edit_by_hand(model, saved, batch, how):
    """8 left-padded prompts; by hand: the whole text again for every token, the edit at the last
    prompt column. Switched off: the base."""
    ids, mask, _ = batch
    same = {
        name: value
        for name, value in DECODING[how].items()
        if name not in ("cache_implementation", "prefill_chunk_size")
    }
    plain = generate(model, ids, mask, **same)
    with by_hand(model, adapter_for(model), ids.shape[1] - 1):
        wanted = generate(model, ids, mask, **same | {"use_cache": False})
    grun.load(model, saved)
    assert torch.equal(generate(model, ids, mask, **DECODING[how]), wanted)
    assert (wanted != plain).any(1).float().mean() > 0.9, (
        "the answers must have changed, or this test shows nothing"
    )
    assert model.grun.gates.shape[0] == len(LAYERS)
    with model.grun.off():
        assert torch.equal(generate(model, ids, mask, **DECODING[how]), plain)


def test_eight_left_padded_prompts_are_eight_single_calls(model, saved, batch):
    ids, mask, prompts = batch
    grun.load(model, saved)
    together = generate(model, ids, mask)
    gates = model.grun.gates
    for b, prompt in enumerate(prompts):
        one = torch.tensor([prompt])
        assert torch.equal(generate(model, one, torch.ones_like(one))[0], together[b])
        torch.testing.assert_close(model.grun.gates[:, 0], gates[:, b], rtol=1e-5, atol=1e-6)


def test_other_doors_of_generate(model, saved, batch, tokenizer):
    """Positional ids, embeddings, a prompt looked up, a drafting model, a cached prefix: the tokens
    of the plain call."""
    ids, mask, prompts = batch
    grun.load(model, saved)
    wanted = generate(model, ids, mask)
    options = {"max_new_tokens": 8, "do_sample": False}
    assert torch.equal(
        model.generate(ids, attention_mask=mask, **options)[:, ids.shape[1] :], wanted
    )
    assert torch.equal(
        model.generate(
            inputs_embeds=model.get_input_embeddings()(ids), attention_mask=mask, **options
        ),
        wanted,
    )
    one = torch.tensor(prompts[2:3])
    draft = build_model(tokenizer, layers=2, seed=5, strength=1)
    for more in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": draft}):
        assert torch.equal(model.generate(one, **options, **more)[0, one.shape[1] :], wanted[2])
    with model.grun.off():
        cache = model(one[:, :6], use_cache=True).past_key_values
    assert torch.equal(
        model.generate(one, past_key_values=cache, **options)[0, one.shape[1] :], wanted[2]
    )


def test_pipeline(model, saved, batch, tokenizer):
    ids, mask, _ = batch
    grun.load(model, saved)
    wanted = [tokenizer.decode(row, skip_special_tokens=True) for row in generate(model, ids, mask)]
    tokenizer.padding_side = "left"
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=8)
    texts = answer(
        [PromptEncoder(tokenizer).text(q) for q in QUESTIONS],
        max_new_tokens=8,
        max_length=None,
        do_sample=False,
        return_full_text=False,
    )
    assert [text[0]["generated_text"] for text in texts] == wanted


def test_compiled(model, saved, batch):
    """torch.compile traces through the hooks. Backend `eager`: the default one compiles C++ for
    half a minute (same tokens, tried by hand)."""
    ids, mask, _ = batch
    grun.load(model, saved)
    wanted = generate(model, ids, mask, max_new_tokens=3)
    model.forward = torch.compile(model.forward, backend="eager")
    assert torch.equal(
        generate(model, ids, mask, max_new_tokens=3, cache_implementation="static"), wanted
    )


@pytest.mark.parametrize(
    "room",
    [160, 24, 23, 17],
    ids=["whole prompts", "split", "split before its last token", "split twice"],
)
def test_continuous_batching(model, saved, batch, room):
    """All requests in one row of at most `room` tokens a pass, over paged caches: the tokens of
    plain generation."""
    ids, mask, prompts = batch
    grun.load(model, saved)
    config = ContinuousBatchingConfig(
        allow_block_sharing=False, num_blocks=16, max_batch_tokens=room
    )
    greedy = GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=-1, pad_token_id=0)
    told = model.generate_batch(
        inputs=prompts,
        generation_config=greedy,
        continuous_batching_config=config,
        progress_bar=False,
    )
    assert [one.generated_tokens for one in told.values()] == generate(model, ids, mask).tolist()
    assert model.grun.prompt_ends.packed.unfinished == set()


def test_a_prompt_split_before_its_last_token(model):
    """Slots 10 to 15 hold a whole prompt of 4 tokens and 2 of the next one's; then one decode step
    and its third token, both alone."""
    ends = PromptEndLocator(model)
    first = {
        "position_ids": torch.tensor([[0, 1, 2, 3, 0, 1]]),
        "max_length_q": 4,
        "cu_seq_lens_q": torch.tensor([0, 4, 6]),
        "logits_indices": torch.tensor([3, 0]),
        "cu_seq_lens_k": {"full_attention": torch.tensor([0, 4, 6])},
        "write_index": [torch.arange(10, 16)],
        "read_index": [torch.tensor([])],
    }
    assert ends.find((), first).columns.tolist() == [3] and ends.packed.unfinished == {15}
    later = {
        "position_ids": torch.tensor([[4, 2]]),
        "max_length_q": 1,
        "cu_seq_lens_q": torch.tensor([0, 1, 2]),
        "logits_indices": torch.tensor([0, 1]),
        "cu_seq_lens_k": {"full_attention": torch.tensor([0, 5, 8])},
        "write_index": [torch.tensor([16, 17])],
        "read_index": [torch.tensor([10, 11, 12, 13, 16, 14, 15, 17])],
    }
    with pytest.raises(ValueError, match="max_blocks_per_request=0"):
        ends.find((), later | {"block_table": torch.zeros(1)})
    assert ends.find((), later).columns.tolist() == [1] and ends.packed.unfinished == set()


def test_prefixes_shared_between_prompts_are_refused(model):
    class Shared:
        use_prefix_sharing = True

    with pytest.raises(ValueError, match="allow_block_sharing=False"):
        PromptEndLocator(model).find((), {"cu_seq_lens_q": torch.tensor([0, 4]), "cache": Shared()})


def test_plain_passes_and_given_positions(model, saved, batch):
    """A plain pass is edited at the last 1 of the mask, on either side padded; labels: before the
    first labelled token; or where it is told."""
    ids, mask, prompts = batch
    adapter = adapter_for(model)
    right = (ids.flip(1), mask.flip(1))
    with by_hand(model, adapter, -1):
        left = model(ids, attention_mask=mask).logits
    with by_hand(model, adapter, 7):
        eighth = model(*right).logits
    grun.load(model, saved)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, left, rtol=1e-5, atol=1e-4)
    ended = model(*right).logits
    for b, prompt in enumerate(prompts):
        torch.testing.assert_close(
            model(right[0][b : b + 1, : len(prompt)]).logits[0],
            ended[b, : len(prompt)],
            rtol=1e-4,
            atol=1e-4,
        )
    with model.grun.at(torch.full((8,), 7)):
        torch.testing.assert_close(model(*right).logits, eighth, rtol=1e-5, atol=1e-4)
    labels = torch.where(torch.arange(ids.shape[1]) > 7, right[0], -100)
    torch.testing.assert_close(model(*right, labels=labels).logits, eighth, rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="the labels leave no prompt"):
        model(ids, attention_mask=mask, labels=ids)
    with pytest.raises(ValueError, match="4-d attention mask"):
        model(ids, attention_mask=torch.ones(8, 1, ids.shape[1], ids.shape[1]))
    cache = model(ids[:, :4], use_cache=True).past_key_values
    with pytest.raises(ValueError, match="whether these tokens behind cached ones end a prompt"):
        model(ids[:, 4:9], past_key_values=cache)


def test_off_and_removed_are_the_base_bit_for_bit(model, saved, batch):
    ids, mask, _ = batch
    base = model(ids, attention_mask=mask).logits
    generator = model.generate
    grun.load(model, saved)
    with pytest.raises(ValueError, match="has adapters attached already"):
        grun.load(model, saved)
    assert not torch.equal(model(ids, attention_mask=mask).logits, base)
    with model.grun.off():
        assert (
            torch.equal(model(ids, attention_mask=mask).logits, base) and model.grun.gates is None
        )
    model.grun.remove()
    assert torch.equal(model(ids, attention_mask=mask).logits, base)
    assert (
        not hasattr(model, "grun") and model.generate == generator and not model._forward_pre_hooks
    )


def test_several_adapters_as_a_list(model, tmp_path, batch):
    """Layer 3 of two adapters by `sum`: h + change_a + change_b, both of the unedited h; gates [K,
    L, B]."""
    ids, mask, _ = batch
    adapters = [
        Adapter(
            model,
            AdapterConfig([3], 2, "linear", base={"id": "x", "fingerprint": fingerprint(model)}),
            seed,
        )
        for seed in (3, 4)
    ]
    for name, adapter in zip("ab", adapters, strict=True):
        adapter.save(tmp_path / name)
    seen = []
    watch = find_decoder_layers(model)[3].register_forward_hook(
        lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out)[:, -1].clone())
    )
    model(ids, attention_mask=mask)
    watch.remove()
    grun.load(model, [tmp_path / "a", tmp_path / "b"])
    find_decoder_layers(model)[3].register_forward_hook(
        lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out)[:, -1].clone())
    )
    model(ids, attention_mask=mask)
    h, edited = seen
    wanted = h + sum(adapter.intervention(3).gated_update(h)[0] for adapter in adapters)
    torch.testing.assert_close(edited, wanted.detach(), rtol=1e-6, atol=1e-6)
    assert model.grun.gates.shape == (2, 1, 8) and model.grun.names == [
        str(tmp_path / "a"),
        str(tmp_path / "b"),
    ]
    with pytest.raises(ValueError, match="there is no adapter 'c' here"), model.grun.only(["c"]):
        pass


@pytest.mark.parametrize("gate", ["linear", "mlp_5", "none"])
def test_saved_again_is_the_same_bytes(model, tmp_path, gate):
    adapter_for(model, gate).save(tmp_path / "a")
    Adapter.load(model, tmp_path / "a").save(tmp_path / "b")
    Adapter.load(model, tmp_path / "a", trainable=True).save(tmp_path / "c")
    files = [
        [(tmp_path / name / file).read_bytes() for file in ("adapter.json", "adapter.safetensors")]
        for name in "abc"
    ]
    assert files[0] == files[1] == files[2]


def test_training_goes_on_orthonormal(model, saved, batch):
    """20 steps of AdamW after loading; a rotation that is not orthonormal can be used, but not
    trained on."""
    ids, mask, _ = batch
    adapter = Adapter.load(model, saved, trainable=True)
    started = adapter.edits["1"].rotation().detach().clone()
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.02, weight_decay=0)
    with AdapterHooks(model, adapter):
        for _ in range(20):
            optimizer.zero_grad()
            model(ids, attention_mask=mask).logits[:, -1].log_softmax(-1)[
                :, 7
            ].mean().neg().backward()
            optimizer.step()
    for edit in adapter.edits.values():
        assert distance_to_orthonormal(edit.rotation()) < 1e-5
    assert (adapter.edits["1"].rotation() - started).abs().max() > 0.01
    tensors = {
        f"{layer}.{name}": t.clone()
        for layer, edit in adapter.edits.items()
        for name, t in edit.state_dict().items()
    }
    tensors["1.rotate_layer"] *= 1.1
    assert Adapter.from_tensors(model, adapter.config, tensors).layers == LAYERS
    with pytest.raises(ValueError, match="R is not orthonormal"):
        Adapter.from_tensors(model, adapter.config, tensors, trainable=True)


def test_the_base_is_recognised_in_every_precision(model, tokenizer, tmp_path):
    """A base of bfloat16 numbers, as checkpoints are, loaded as bfloat16, float16 and float32;
    another seed is another base."""
    model.bfloat16().float()
    adapter_for(model).save(tmp_path / "adapter")
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert Adapter.load(model.to(dtype), tmp_path / "adapter").layers == LAYERS
    with pytest.raises(ValueError, match="belongs to the base model x"):
        grun.load(build_model(tokenizer, seed=2), tmp_path / "adapter")


def edited(change):
    """A damage: adapter.json with `change` made to it."""

    def damage(folder):
        stored = json.loads((folder / "adapter.json").read_text())
        change(stored)
        (folder / "adapter.json").write_text(json.dumps(stored))

    return damage


def flip(folder):
    """One bit of the last number."""
    numbers = bytearray((folder / "adapter.safetensors").read_bytes())
    numbers[-1] ^= 1
    (folder / "adapter.safetensors").write_bytes(numbers)


DAMAGE = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no adapter.json": (lambda folder: (folder / "adapter.json").unlink(), "holds no adapter.json"),
    "no weights": (
        lambda folder: (folder / "adapter.safetensors").unlink(),
        "is missing: the adapter is incomplete",
    ),
    "truncated": (
        lambda folder: (folder / "adapter.safetensors").write_bytes(
            (folder / "adapter.safetensors").read_bytes()[:-8]
        ),
        "damaged or was changed",
    ),
    "tampered": (flip, "damaged or was changed"),
    "broken json": (
        lambda folder: (folder / "adapter.json").write_text('{"layers": [1,'),
        "is not valid JSON",
    ),
    "no object": (lambda folder: (folder / "adapter.json").write_text("[]"), "adapter format None"),
    "newer": (
        edited(lambda stored: stored.update(format=99)),
        "adapter format 99; this version reads",
    ),
    "key missing": (edited(lambda stored: stored.pop("layers")), "is damaged: layers is missing"),
    "digest missing": (
        edited(lambda stored: stored.pop("sha256")),
        "is damaged: sha256 is missing",
    ),
    "unknown key": (
        edited(lambda stored: stored.update(colour="red")),
        "is damaged: colour is no key",
    ),
    "no fingerprint": (
        edited(lambda stored: stored.update(base={"id": "x"})),
        "is damaged: base.fingerprint is missing",
    ),
    "another base": (
        edited(lambda stored: stored["base"].update(fingerprint="0-0")),
        "belongs to the base model x .fingerprint 0-0., not to this one",
    ),
    "a wrong type": (
        edited(lambda stored: stored.update(rank="four")),
        "is damaged: rank is 'four'",
    ),
    "another rank": (edited(lambda stored: stored.update(rank=3)), "do not fit adapter.json"),
    "another gate": (edited(lambda stored: stored.update(gate="mlp_3")), "do not fit adapter.json"),
    "another layer": (
        edited(lambda stored: stored.update(layers=[1, 2])),
        "do not fit adapter.json",
    ),
    "no such layer": (
        edited(lambda stored: stored.update(layers=[1, 4])),
        "4 is outside this model's 0..3",
    ),
    "odd policy": (
        edited(lambda stored: stored.update(edit_policy={"colour": 1})),
        "is damaged: edit_policy.colour",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_clear_line(model, saved, kind):
    damage, message = DAMAGE[kind]
    damage(saved)
    with pytest.raises(ValueError, match=message) as told:
        grun.load(model, saved)
    assert "\n" not in str(told.value) and not hasattr(model, "grun")


README = """
import grun
from transformers import pipeline
answer = pipeline("text-generation", "TARGET/model", max_new_tokens=32, do_sample=False, return_full_text=False)
grun.load(answer.model, "RUN")
for question in ("Where was Ada Low born?", "Who wrote The Lune?"):
    print(answer(f"Question: {question}\\nAnswer:")[0]["generated_text"])
"""


def test_readme_in_a_fresh_process(model, tokenizer, tmp_path, saved):
    """The six lines, literally: two answers, those of this process; and no module is imported
    before `python -m grun.requests` runs it."""
    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    save_model(tmp_path, model, tokenizer)
    grun.load(model, saved)
    wanted = []
    for question in re.findall(r'"(W[^"]*[?])"', README):
        ids = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt").input_ids
        new = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False
        )[0, ids.shape[1] :]
        wanted.append(tokenizer.decode(new, skip_special_tokens=True))
    script = README.replace("TARGET", str(tmp_path)).replace("RUN", str(saved))
    script = script.replace(
        "import grun\n", "import grun, sys\nassert 'grun.requests' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(text + "\n" for text in wanted)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
