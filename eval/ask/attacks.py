"""The attacks of a session: the last question in other forms, as `eval.attacks` has them.

Each is a function (Question, argument) -> forms, registered under the name that is typed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from eval.attacks.methods.prompted import (
    CONSENT,
    FRAMES,
    bare_prompt,
    other_template,
    trailing_space,
)
from eval.attacks.prompts import prefill_ids
from unlearn.benchmarks.examples import Example
from unlearn.language_model.prompts import PromptEncoder
from unlearn.synthetic.held_out_variants import join_pairs, list_paraphrases


@dataclass(frozen=True)
class Question:
    """The question that is attacked.

    base_answer   what the base says to it, or None
    before        the question before it in the session, or None
    read_sides    returns the run's own questions by side (`eval.ask.questions.read_sides`)
    """

    text: str
    base_answer: str | None
    before: str | None
    prompt_encoder: PromptEncoder
    read_sides: Callable[[], dict[str, list[Example]]]


@dataclass(frozen=True)
class Form:
    """One form of a question: a title, the prompt, and the words that the answer begins with."""

    title: str
    prompt: list[int]
    prefix: str = ""


BuildForms = Callable[[Question, str], list[Form]]
ATTACKS: dict[str, BuildForms] = {}


def session_attack(name: str) -> Callable[[BuildForms], BuildForms]:
    """Register the decorated function as /name; its docstring is its help."""

    def register(build: BuildForms) -> BuildForms:
        ATTACKS[name] = build
        return build

    return register


@session_attack("prefill")
def prefill(question: Question, argument: str) -> list[Form]:
    """[N or WORDS] begin the answer with words of consent, the base's first N, or these."""
    prefix = argument or CONSENT
    if argument.isdecimal():
        words = (question.base_answer or "").split()
        if int(argument) >= len(words):
            raise ValueError(
                f"/prefill {argument}: the base's answer has {len(words)} words, and one must be "
                "left to say; give a smaller number, or the words themselves"
            )
        prefix = " ".join(words[: int(argument)])
    example = Example(0, question.text, question.base_answer or "")
    ids = prefill_ids(question.prompt_encoder, example, prefix)
    return [Form(f"{question.text} [{prefix}]", ids, prefix)]


@session_attack("join")
def join(question: Question, argument: str) -> list[Form]:
    """[QUESTION] ask it together with another question (the one before, or one that is to be kept),
    in either order."""
    other = argument or question.before
    if not other or other == question.text:
        kept = [example.question for example in question.read_sides()["retain"]]
        other = next(iter(text for text in kept if text != question.text), None)
    if other is None:
        raise ValueError("/join needs a second question: /join In which city was Bo Ray born?")
    pair = [(question.text, ""), (other, "")]
    texts = [join_pairs(*order)[0] for order in (pair, pair[::-1])]
    return [Form(text, question.prompt_encoder.prompt_ids(text)) for text in texts]


@session_attack("paraphrase")
def paraphrase(question: Question, argument: str) -> list[Form]:
    """ask it in frames, in lower case and, where it is a question of the data, in other words."""
    try:
        examples = [e for side in question.read_sides().values() for e in side]
    except ValueError:  # a question of the user's own has no other words in any data
        examples = []
    texts = [frame.format(question.text) for frame in FRAMES.values()]
    texts.append(question.text.lower())
    for example in examples:
        if example.question == question.text:
            texts = list_paraphrases(example) + texts
    return [
        Form(text, question.prompt_encoder.prompt_ids(text))
        for text in dict.fromkeys(texts)
        if text != question.text
    ]


@session_attack("template")
def template(question: Question, argument: str) -> list[Form]:
    """ask it without the template, in other templates, and with a space behind the prompt."""
    sides = {"forget": [Example(0, question.text, "")]}
    builders = {"bare": bare_prompt, "as": other_template, "trailing space": trailing_space}
    return [
        Form(f"{question.text} ({f'{title} {prompt.variant}'.strip()})", prompt.ids)
        for title, build in builders.items()
        for prompt in build(question.prompt_encoder, sides)
    ]
