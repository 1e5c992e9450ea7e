"""`--template chat`: prompts by a tokenizer's own chat template, and templates that do not fit."""

import pytest

from tests import toy
from unlearn.language_model.chat_format import read_chat_format
from unlearn.language_model.models import canonical_template, default_template
from unlearn.language_model.prompts import PromptEncoder

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}Today: {{ strftime_now('%d %b %Y') }}\n{% for m in messages %}"
    "<|im_start|>{{ m['role'] }}\n\n{{ m['content'] | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}"
    "{{ ' ' + m['content'] + eos_token }}{% else %}{{ raise_exception('no system role') }}"
    "{% endif %}{% endfor %}"
)
QWEN3 = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
R1 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|ai|>' + m['content'].split('</think>')[-1] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|ai|><think>\n' }}{% endif %}"
)
FITTING = {"chatml": CHATML, "llama3": LLAMA3, "mistral": MISTRAL, "qwen3": QWEN3, "r1": R1}


def build(template, special=("<|im_start|>", "<|im_end|>")):
    tokenizer = toy.build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", FITTING)
@pytest.mark.parametrize("question", [" Where was Ada born?\n", "x", "<think>why</think>"])
@pytest.mark.parametrize("answer", ["In Teselle.", "'No'", "a </think> b", "1912\n"])
def test_chat_prompt_is_a_prefix(name, question, answer):
    """The prompt's ids begin those of prompt + answer, which hold the answer whole and one BOS at
    most, as the template's text says."""
    tokenizer = build(FITTING[name])
    prompt_encoder = PromptEncoder(tokenizer, "chat")
    encoded = prompt_encoder.encode(question, answer)
    prompt = prompt_encoder.prompt_ids(question)
    assert encoded.ids[: encoded.prompt_length] == prompt
    assert encoded.ids[-1] in prompt_encoder.stop_ids
    assert tokenizer.decode(encoded.answer[:-1]).strip() == answer.strip()
    has_bos = FITTING[name].startswith("{{ bos_token }}")
    assert encoded.ids.count(tokenizer.bos_token_id) == has_bos


@pytest.mark.parametrize("name", ["chatml", "mistral"])
def test_chat_prompt_is_what_the_tokenizer_makes(name):
    """Token by token that of apply_chat_template, with a system prompt where there is one."""
    tokenizer = build(FITTING[name])
    system = "Be brief." if name == "chatml" else None
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": "Who?"})
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert PromptEncoder(tokenizer, "chat", system=system).prompt_ids("Who?") == expected


def test_chat_is_the_same_every_day():
    """Today is the date in Llama 3.1's own template; an opened reasoning part is closed."""
    tokenizer = build(LLAMA3)
    assert "Today: 26 Jul 2024\n" in PromptEncoder(tokenizer, "chat").text("Who?")
    assert read_chat_format(build(R1)).after == "<|ai|><think>\n\n</think>\n\n"
    assert read_chat_format(build(QWEN3)).after.endswith("<think>\n\n</think>\n\n")
    assert read_chat_format(build(MISTRAL)).joint == " "


def test_chat_ends_where_the_turn_ends():
    """With <|im_end|> where it is a token, else with EOS; generation stops at both."""
    tokenizer = build(CHATML)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    prompt_encoder = PromptEncoder(tokenizer, "chat")
    assert prompt_encoder.encode("Who?", "Ada.").ids[-1] == end
    assert prompt_encoder.stop_ids == [end, tokenizer.eos_token_id]
    assert PromptEncoder(build(CHATML, ()), "chat").stop_ids == [tokenizer.eos_token_id]


UNFITTING = [
    (None, None, "has no chat template"),
    ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", None, "no clear boundary"),
    (CHATML.partition("{% if")[0], None, "no clear boundary"),
    (CHATML.replace("m['content'] ", "m['content'] | upper "), None, "does not hold the question"),
    ("{{ raise_exception('not today') }}", None, "chat template .* fails: not today"),
    (MISTRAL, "Be brief.", "--system: .* fails: no system role"),
    (R1, "Be brief.", "--system: .* leaves the system prompt out"),
]


@pytest.mark.parametrize(("template", "system", "message"), UNFITTING)
def test_unfitting_chat_template_is_refused(template, system, message):
    with pytest.raises(ValueError, match=message) as error:
        PromptEncoder(build(template), "chat", system=system)
    assert "\n" not in str(error.value)


def test_system_without_chat_is_refused(tokenizer):
    with pytest.raises(ValueError, match="--system is part of a chat"):
        PromptEncoder(tokenizer, "qa", system="Be brief.")


def test_default_template_is_the_papers_then_chat(tokenizer):
    """The papers' models keep theirs, also by hub id; others chat where they can."""
    chatty = build(CHATML)
    papers = ("llama2-7b", "locuslab/tofu_ft_llama2-7b", "llama3.1-8b", "tiny", "qwen2.5-7b")
    assert [default_template(m, chatty) for m in papers] == ["llama2", "llama2", "qa", "qa", "chat"]
    assert [default_template(m, tokenizer) for m in ("qwen2.5-7b", "any/id")] == ["qa", "qa"]


def test_upstream_names_say_what_they_are(capsys):
    names = ("llama3", "zephyr", "llama2-7b", "chat", "none", None)
    resolved = [canonical_template(name) for name in names]
    assert resolved == ["qa", "qa", "llama2", "chat", "none", None]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(r"--template llama3 is upstream's name of qa, 'Question: ..\nAnswer")


def test_none_is_the_question_alone(tokenizer):
    prompt_encoder = PromptEncoder(tokenizer, "none")
    assert prompt_encoder.text(" Who? ") == "Who?"
    assert prompt_encoder.answered("Who?", "Ada.") == "Who? Ada."
