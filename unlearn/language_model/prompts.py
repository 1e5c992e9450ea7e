"""Prompts: the text around a question, and where the prompt ends.

The last prompt token is the position that GRUN edits, and the answer's first token is the first one
that a loss scores. Both are counted in this module, for every tokenizer: the prompt is the longest
common prefix of ids(prompt) and ids(prompt + answer).
"""

from dataclasses import dataclass, field

from unlearn.processes import is_main

# name -> (text before the answer tag, answer tag, what joins it to the answer); `qa` and `llama2`
# as in renjie3/GRUN, config/model_config.yaml. `text` is a document: the question is its first
# part, taken as it is, and the answer the rest.
TEMPLATES = {
    "qa": ("Question: {q}\n", "Answer:", " "),
    "llama2": ("[INST] {q} [/INST]", "", ""),
    "text": ("{q}", "", " "),
}
LABEL_STARTS = ("answer", "answer_tag", "all")
# renjie3/GRUN trains and evaluates with one more space before the newline than it fine-tunes with
STYLES = {"finetune": "{q}\n", "grun": "{q} \n"}


@dataclass(frozen=True)
class Encoded:
    """One example as token ids.

    ids             prompt + answer + EOS
    prompt_length   number of prompt tokens
    scored_from     index of the first token that a loss scores; by default the answer's first
    """

    ids: list[int]
    prompt_length: int
    scored_from: int = field(default=-1)

    def __post_init__(self):
        if self.scored_from < 0:
            object.__setattr__(self, "scored_from", self.prompt_length)

    @property
    def answer(self) -> list[int]:
        """The ids of answer + EOS."""
        return self.ids[self.prompt_length :]


class PromptEncoder:
    """Turns questions and answers into token ids for one tokenizer.

    template     `qa`, `llama2` or `text`
    style        `finetune` (as the target was fine-tuned) or `grun` (upstream's extra space)
    label_start  the first token that a loss scores: `answer` (answer + EOS), `answer_tag`
                 (`Answer:` too, as in TOFU's and the baselines' code) or `all` (the prompt too but
                 for its first token, as in MUSE's code)
    max_length   tokens of prompt + answer; a longer text is cut

    Raises `ValueError` for an unknown choice, and for a tokenizer without EOS.
    """

    def __init__(
        self,
        tokenizer,
        template: str = "qa",
        style: str = "finetune",
        label_start: str = "answer",
        max_length: int = 512,
    ):
        choices = [
            ("template", template, TEMPLATES),
            ("prompt_style", style, STYLES),
            ("label_start", label_start, LABEL_STARTS),
        ]
        for name, value, allowed in choices:
            if value not in allowed:
                raise ValueError(f"--{name} {value} is unknown; choose one of {', '.join(allowed)}")
        check_eos(tokenizer)
        self.tokenizer = tokenizer
        self.template = template
        self.style = style
        self.label_start = label_start
        self.max_length = max_length
        self.has_warned = False  # of an answer that is cut

    def text(self, question: str) -> str:
        """Return the prompt up to its last token.

        It has no trailing space, which would merge with the answer's first word.
        """
        before, tag, _ = TEMPLATES[self.template]
        question = question if self.template == "text" else question.strip()
        return before.replace("{q}\n", STYLES[self.style]).replace("{q}", question) + tag

    def answered(self, question: str, answer: str) -> str:
        """Return the prompt with an answer behind it."""
        return self.text(question) + TEMPLATES[self.template][2] + answer

    def prompt_ids(self, question: str) -> list[int]:
        """Return the token ids of the prompt alone, at most `max_length`."""
        return self.tokenizer(self.text(question))["input_ids"][: self.max_length]

    def encode(self, question: str, answer: str) -> Encoded:
        """Return ids(prompt + answer) + EOS.

        Raises `ValueError` if the answer has no tokens of its own within `max_length`.
        """
        prompt = self.text(question)
        # one token of max_length is left for EOS
        whole = self.tokenizer(self.answered(question, answer))["input_ids"]
        ids = whole[: self.max_length - 1]
        prompt_length = count_common_prefix(self.tokenizer(prompt)["input_ids"], ids)
        if prompt_length >= len(ids):
            raise ValueError(
                f"the answer {answer!r} has no tokens after its prompt within {self.max_length} "
                f"tokens: {question!r}"
            )
        if len(ids) < len(whole):
            self._warn_of_cut(question, len(whole) + 1)
        if ids[-1] != self.tokenizer.eos_token_id:
            ids = [*ids, self.tokenizer.eos_token_id]
        return Encoded(ids, prompt_length, self._find_label_start(prompt, ids, prompt_length))

    def _warn_of_cut(self, question: str, needed: int) -> None:
        """Print, once, that an answer is cut; a document is in pieces anyway."""
        if self.template != "text" and not self.has_warned and is_main():
            print(
                f"warning: --max_length {self.max_length} cuts the answer to {question!r}, which "
                f"takes {needed} tokens, and maybe others; its end is neither learned nor scored",
                flush=True,
            )
            self.has_warned = True

    def _find_label_start(self, prompt: str, ids: list[int], prompt_length: int) -> int:
        if self.label_start == "all":
            return 1
        if self.label_start == "answer":
            return prompt_length
        before_tag = prompt.removesuffix(TEMPLATES[self.template][1])
        return count_common_prefix(self.tokenizer(before_tag)["input_ids"], ids)


def check_eos(tokenizer) -> None:
    """Raise `ValueError` for a tokenizer without EOS: an answer could never end."""
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no EOS token, so an answer could never end; set "
            "tokenizer.eos_token and save it"
        )


def count_common_prefix(a: list[int], b: list[int]) -> int:
    """Return the number of leading ids that two sequences share."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
