"""The answer tag, the tokens that end every prompt of a template ("Answer:")."""

from unlearn.language_model.prompts import PromptEncoder, count_common_prefix


def find_answer_tag(prompt_encoder: PromptEncoder) -> list[int]:
    """Return the token ids of the tag: the common end of two prompts with different questions.

    Leading tokens that hold nothing of the template's text after the question are left out.
    """
    one, other = (
        prompt_encoder.prompt_ids(question)[::-1] for question in ("Who is it?", "When 1999!")
    )
    tag = one[: count_common_prefix(one, other)][::-1]
    text = prompt_encoder.text("x").rpartition("x")[2].strip()
    decode = prompt_encoder.tokenizer.decode
    while len(tag) > 1 and len(decode(tag[1:]).strip()) >= len(text):
        tag = tag[1:]
    return tag
