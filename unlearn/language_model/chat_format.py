"""A tokenizer's own chat template, read once: the text before and behind a question.

The template (Hugging Face's `apply_chat_template` with a generation prompt) is rendered around a
marker in place of the question. Prompts are then put together from the pieces, so every one of them
is what `apply_chat_template` gives for its question, on whatever day:

    before + question + after            the prompt
    before + question + after + joint + answer + end of turn
"""

from dataclasses import dataclass

from jinja2 import TemplateError

# What a template writes for today: the date that stands in Llama 3.1's own template. The macro
# stands before the template, whose `strftime_now` it replaces.
DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24"}
DATE_MACRO = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f"|replace('{code}', '{text}')" for code, text in DATE.items())
    + " }}{% endmacro %}{{ '' }}"
)
MARKERS = ("Who is question one?", "Who is question two?")  # as a template may trim its messages
ANSWER = "The answer is one."
OPENED, CLOSED = "<think>", "</think>"


@dataclass(frozen=True)
class ChatFormat:
    """The pieces of a chat with one question.

    before, after   the prompt's text before and behind the question; `after` ends in the header of
                    the model's turn
    joint           what joins the prompt to the answer: a space, or nothing
    end             the text with which the model ends its turn
    """

    before: str
    after: str
    joint: str
    end: str


def read_chat_format(tokenizer, system: str | None = None) -> ChatFormat:
    """Return the pieces of the tokenizer's chat template, with a system prompt where one is given.

    Today is always DATE, and a reasoning part that the template opens is closed: the answers here
    have none. Raises `ValueError`, in one line, for a tokenizer without a chat template, one whose
    template fails or leaves the system prompt out, and one whose prompts do not end where the
    answer begins.
    """
    name = tokenizer.name_or_path or "this tokenizer"
    if not tokenizer.chat_template:
        raise ValueError(
            f"--template chat: {name} has no chat template; pass --template qa, llama2 or none"
        )
    first, second = (render(tokenizer, marker, system) for marker in MARKERS)
    before, found, after = first.partition(MARKERS[0])
    if not found or before + MARKERS[1] + after != second:
        raise ValueError(
            f"--template chat: the chat template of {name} does not hold the question as it is; "
            "pass --template qa or none"
        )
    if system and system.strip() not in before:
        raise ValueError(
            f"--system: the chat template of {name} leaves the system prompt out; leave the flag "
            "out, or put the text into the questions"
        )
    joint, end = find_answer(name, first, render(tokenizer, MARKERS[0], system, ANSWER))
    if not after.strip():
        raise_no_boundary(name)
    if after.rpartition(OPENED)[1] and CLOSED not in after.rpartition(OPENED)[2]:
        after = f"{after.rstrip()}\n\n{CLOSED}\n\n"
    return ChatFormat(before, after, joint, end)


def find_answer(name: str, prompt: str, whole: str) -> tuple[str, str]:
    """Return (what stands between the prompt and the answer, what ends the answer's turn).

    prompt: a rendered question; whole: the same with ANSWER behind it. Raises `ValueError` where
    the prompt, but for a reasoning part, is not how `whole` begins, or more than white space
    stands between them."""
    opened = prompt.partition(OPENED)[0] if OPENED in prompt else prompt
    between, found, end = whole[len(opened) :].partition(ANSWER)
    for part in (OPENED, CLOSED):
        between = between.replace(part, "")
    if not whole.startswith(opened) or not found or between.strip():
        raise_no_boundary(name)
    is_spaced = opened == prompt and not prompt[-1].isspace() and between.startswith(" ")
    return " " if is_spaced else "", end


def raise_no_boundary(name: str):
    raise ValueError(
        f"--template chat: the chat template of {name} puts no clear boundary between prompt and "
        "answer (its generation prompt is not how an answer's turn begins); pass --template qa or "
        "none"
    )


def render(tokenizer, question: str, system: str | None, answer: str | None = None) -> str:
    """Return the chat as text, with a generation prompt unless it has an answer.

    Raises `ValueError` where the template does."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": question})
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    try:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=DATE_MACRO + tokenizer.get_chat_template(),
            tokenize=False,
            add_generation_prompt=answer is None,
            enable_thinking=False,
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = "--system" if system is not None else "--template chat"
        raise ValueError(
            f"{what}: the chat template of {tokenizer.name_or_path or 'this tokenizer'} fails: "
            f"{reason}"
        ) from None
