"""torch.compile with an adapter: edited while it is attached and in force, the base otherwise."""

import copy
import shutil
import threading

import pytest
import torch

import grun
from grun.inference.hooks import AdapterHooks
from tests import toy
from tests.grun.adapter_cases import STRONG, build_adapter, generate


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    with torch.no_grad():
        yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def frozen_model(tokenizer):
    """One of two layers, since every compilation traces them all; read only."""
    return toy.build_model(tokenizer, layers=2)


@pytest.fixture
def source(frozen_model, tmp_path):
    build_adapter(frozen_model, layers=[1], strength=STRONG).save(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def ids():
    return torch.arange(40, 64).view(2, 12)


@pytest.fixture
def base(frozen_model, ids):
    with torch.no_grad():
        return frozen_model(ids).logits


@pytest.fixture
def edited(frozen_model, source, ids):
    with torch.no_grad():
        return grun.load(copy.deepcopy(frozen_model), source)(ids).logits


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def compile_model(model, fullgraph=False):
    return torch.compile(model, backend="eager", fullgraph=fullgraph)


@pytest.mark.parametrize("fullgraph", [pytest.param(False, marks=pytest.mark.slow), True])
def test_adapter_loaded_after_compiling(model, source, ids, base, edited, fullgraph):
    """Also after off() and only(), and after remove()."""
    compiled = compile_model(model, fullgraph)
    assert_close(compiled(ids).logits, base)
    grun.load(model, source)
    assert_close(compiled(ids).logits, edited)
    with model.grun.off():
        assert_close(compiled(ids).logits, base)
    assert_close(compiled(ids).logits, edited)
    with model.grun.only([]):
        assert_close(compiled(ids).logits, base)
    model.grun.remove()
    assert_close(compiled(ids).logits, base)


@pytest.mark.parametrize("fullgraph", [pytest.param(False, marks=pytest.mark.slow), True])
def test_adapter_loaded_before_compiling(model, source, ids, base, edited, fullgraph):
    """The first compiled pass runs within off()."""
    compiled = compile_model(grun.load(model, source), fullgraph)
    with model.grun.off():
        assert_close(compiled(ids).logits, base)
    assert_close(compiled(ids).logits, edited)
    model.grun.remove()
    assert_close(compiled(ids).logits, base)


def test_another_compiled_model_of_the_same_class(model, frozen_model, source, ids, base, edited):
    """Either may come first; each keeps its own answers."""
    other = compile_model(copy.deepcopy(frozen_model))
    assert_close(other(ids).logits, base)
    compiled = compile_model(grun.load(model, source))
    for _ in range(2):
        assert_close(compiled(ids).logits, edited)
        assert_close(other(ids).logits, base)
    third = compile_model(copy.deepcopy(frozen_model))
    assert_close(third(ids).logits, base)
    assert_close(compiled(ids).logits, edited)


def test_a_compiled_model_can_be_loaded_onto(model, source, ids, base, edited):
    """`grun.load` unwraps it and returns it; its controls are those of the model inside."""
    compiled = compile_model(model)
    assert grun.load(compiled, source) is compiled
    assert compiled.grun is model.grun
    assert_close(compiled(ids).logits, edited)
    assert_close(model(ids).logits, edited)
    with pytest.raises(ValueError, match="has adapters attached already"):
        grun.load(compiled, source)
    compiled.grun.remove()
    assert_close(compiled(ids).logits, base)


def test_a_model_compiled_in_place(model, source, ids, base, edited):
    model.compile(backend="eager")
    assert_close(model(ids).logits, base)
    grun.load(model, source)
    assert_close(model(ids).logits, edited)
    expected = generate(model, ids, torch.ones_like(ids), max_new_tokens=3)
    with model.grun.off():
        assert_close(model(ids).logits, base)
    model._compiled_call_impl = None
    assert torch.equal(generate(model, ids, torch.ones_like(ids), max_new_tokens=3), expected)


@pytest.mark.slow
def test_one_adapter_after_another(model, ids):
    """More of them than dynamo recompiles one function for, as a whole graph."""
    compiled = compile_model(model, fullgraph=True)
    for seed in range(10):
        adapter = build_adapter(model, layers=[1], strength=STRONG, seed=seed)
        with AdapterHooks(model, adapter):
            assert_close(compiled(ids).logits, model(ids).logits)


def test_a_model_first_compiled_in_another_thread(model, source, ids, base, edited):
    """dynamo's settings belong to a thread."""
    grun.load(model, source)
    compiled = compile_model(model)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(compiled(ids).logits))
    thread.start()
    thread.join()
    assert_close(answers[0], edited)
    model.grun.remove()
    assert_close(compiled(ids).logits, base)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor(model, source, ids, base, edited):
    compiled = torch.compile(model)
    assert_close(compiled(ids).logits, base)
    grun.load(model, source)
    assert_close(compiled(ids).logits, edited)
    with model.grun.off():
        assert_close(compiled(ids).logits, base)
    assert_close(compiled(ids).logits, edited)
    model.grun.remove()
    assert_close(compiled(ids).logits, base)
