"""Prompts: the text around a question, and where the prompt ends.

The last prompt token is the position that GRUN edits, and the answer's first token is the first one
that a loss scores. Both are counted in this module, for every tokenizer: the prompt is the longest
common prefix of ids(prompt) and ids(prompt + answer).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from unlearn.language_model.chat_format import ChatFormat, raise_no_boundary, read_chat_format
from unlearn.processes import is_main

# name -> (text before the answer tag, answer tag, what joins it to the answer); `qa` and `llama2`
# as in renjie3/GRUN, config/model_config.yaml. `none` is the question alone. `text` is a document:
# the question is its first part, taken as it is, and the answer the rest.
TEMPLATES = {
    "qa": ("Question: {q}\n", "Answer:", " "),
    "llama2": ("[INST] {q} [/INST]", "", ""),
    "none": ("{q}", "", " "),
    "text": ("{q}", "", " "),
}
CHAT = "chat"  # the tokenizer's own chat template
TEMPLATE_NAMES = (*TEMPLATES, CHAT)
LABEL_STARTS = ("answer", "answer_tag", "all")
# renjie3/GRUN trains and evaluates with one more space before the newline than it fine-tunes with
STYLES = {"finetune": "{q}\n", "grun": "{q} \n"}


@dataclass(frozen=True)
class Encoded:
    """One example as token ids.

    ids             prompt + answer + EOS
    prompt_length   number of prompt tokens
    scored_from     index of the first token that a loss scores; by default the answer's first
    is_cut          whether --max_length cuts the end of the answer
    """

    ids: list[int]
    prompt_length: int
    scored_from: int = field(default=-1)
    is_cut: bool = False

    def __post_init__(self):
        if self.scored_from < 0:
            object.__setattr__(self, "scored_from", self.prompt_length)

    @property
    def answer(self) -> list[int]:
        """The ids of answer + EOS."""
        return self.ids[self.prompt_length :]


class PromptEncoder:
    """Turns questions and answers into token ids for one tokenizer.

    template     `qa`, `llama2`, `none`, `text`, or `chat`, the tokenizer's own chat template
    style        `finetune` (as the target was fine-tuned) or `grun` (upstream's extra space)
    label_start  the first token that a loss scores: `answer` (answer + EOS), `answer_tag`
                 (`Answer:` too, as in TOFU's and the baselines' code) or `all` (the prompt too but
                 for its first token, as in MUSE's code)
    max_length   tokens of prompt + answer; a longer text is cut
    system       the system prompt of a chat
    positions    the positions of the model, which no text may exceed; None: no limit

    Raises `ValueError` for an unknown choice, a tokenizer without EOS, a system prompt without a
    chat, and a chat template that does not fit (`read_chat_format`).
    """

    def __init__(
        self,
        tokenizer,
        template: str = "qa",
        style: str = "finetune",
        label_start: str = "answer",
        max_length: int = 512,
        system: str | None = None,
        positions: int | None = None,
    ):
        choices = [
            ("template", template, TEMPLATE_NAMES),
            ("prompt_style", style, STYLES),
            ("label_start", label_start, LABEL_STARTS),
        ]
        for name, value, allowed in choices:
            if value not in allowed:
                raise ValueError(f"--{name} {value} is unknown; choose one of {', '.join(allowed)}")
        check_eos(tokenizer)
        if system is not None and template != CHAT:
            raise ValueError(
                f"--system is part of a chat, and these prompts have the template {template}; pass "
                "--template chat, or leave --system out"
            )
        self.tokenizer = tokenizer
        self.template = template
        self.style = style
        self.label_start = label_start
        self.system = system
        self.positions = positions
        self.max_length = max_length if positions is None else min(max_length, positions)
        self.has_warned = False  # of an answer that is cut
        self.end_id = tokenizer.eos_token_id
        self.adds_eos = tokenizer("x")["input_ids"][-1] == self.end_id
        self.chat: ChatFormat | None = None
        if template == CHAT:
            self.chat = read_chat_format(tokenizer, system)
            self.end_id = find_end_id(tokenizer, self.chat.end)
            self._check_boundary()

    @property
    def settings(self) -> dict:
        """What decides the text of a prompt, as configurations of runs and adapters keep it."""
        settings = {"template": self.template, "style": self.style}
        return settings if self.system is None else settings | {"system": self.system}

    @property
    def stop_ids(self) -> list[int]:
        """The tokens that end an answer: EOS and, in a chat, the end of the model's turn."""
        return list(dict.fromkeys([self.end_id, self.tokenizer.eos_token_id]))

    def tokenize(self, text: str, **options):
        """Return the tokenizer's encoding of a prompt with or without answer.

        A chat holds its special tokens as text, so that none is added (no second BOS).
        """
        return self.tokenizer(text, add_special_tokens=self.chat is None, **options)

    def text(self, question: str) -> str:
        """Return the prompt up to its last token.

        But for a chat's own, it has no trailing space, which would merge with the answer's first
        word.
        """
        question = question if self.template == "text" else question.strip()
        if self.chat is not None:
            return self.chat.before + question + self.chat.after
        before, tag, _ = TEMPLATES[self.template]
        return before.replace("{q}\n", STYLES[self.style]).replace("{q}", question) + tag

    def answered(self, question: str, answer: str) -> str:
        """Return the prompt with an answer behind it."""
        joint = TEMPLATES[self.template][2] if self.chat is None else self.chat.joint
        return self.text(question) + joint + answer

    def prompt_ids(self, question: str) -> list[int]:
        """Return the token ids of the prompt alone, at most `max_length`."""
        return self.token_ids(self.text(question))[: self.max_length]

    def token_ids(self, text: str) -> list[int]:
        """Return the ids of a text that goes on, without the EOS that some tokenizers add."""
        ids = self.tokenize(text)["input_ids"]
        return ids[:-1] if self.adds_eos and ids[-1] == self.tokenizer.eos_token_id else ids

    def encode(self, question: str, answer: str) -> Encoded:
        """Return ids(prompt + answer) + EOS.

        Raises `ValueError` if the answer has no tokens of its own within `max_length`.
        """
        prompt = self.text(question)
        # one token of max_length is left for EOS
        whole = self.tokenize(self.answered(question, answer))["input_ids"]
        ids = whole[: self.max_length - 1]
        prompt_length = count_common_prefix(self.token_ids(prompt), ids)
        if prompt_length >= len(ids):
            raise ValueError(
                f"the answer {answer!r} has no tokens after its prompt within {self._limit}: "
                f"{question!r}"
            )
        is_cut = len(ids) < len(whole)
        if is_cut:
            self._warn_of_cut(question, len(whole) + 1)
        if ids[-1] not in self.stop_ids:
            ids = [*ids, self.end_id]
        label_start = self._find_label_start(prompt, ids, prompt_length)
        return Encoded(ids, prompt_length, label_start, is_cut)

    def check(self, examples, locate: Callable[[int], str]) -> None:
        """Encode all of them, so that what `encode` refuses is refused before any training.

        locate: index of an example -> its place, with which the `ValueError` begins."""
        for example in examples:
            try:
                self.encode(example.question, example.answer)
            except ValueError as error:
                raise ValueError(f"{locate(example.index)}: {error}") from None

    @property
    def _limit(self) -> str:
        """What limits the length of a text, for messages."""
        if self.max_length == self.positions:
            return f"the model's limit of {self.positions} positions"
        return f"--max_length {self.max_length}"

    def _check_boundary(self) -> None:
        """Raise `ValueError` where the tokens of a chat's prompt change with the answer."""
        ids = self.token_ids(self.text("Who?"))
        for answer in ("In Teselle.", "1912", "'No'"):
            whole = self.tokenize(self.answered("Who?", answer))["input_ids"]
            if whole[: len(ids)] != ids:
                raise_no_boundary(self.tokenizer.name_or_path)

    def _warn_of_cut(self, question: str, needed: int) -> None:
        """Print, once, that an answer is cut; a document is in pieces anyway."""
        if self.template != "text" and not self.has_warned and is_main():
            print(
                f"warning: {self._limit} cuts the answer to {question!r}, which takes {needed} "
                "tokens, and maybe others; its end is neither learned nor scored",
                flush=True,
            )
            self.has_warned = True

    def _find_label_start(self, prompt: str, ids: list[int], prompt_length: int) -> int:
        if self.label_start == "all":
            return 1
        if self.label_start == "answer":
            return prompt_length
        tag = TEMPLATES[self.template][1] if self.chat is None else self.chat.after
        before_tag = prompt.removesuffix(tag)
        return count_common_prefix(self.token_ids(before_tag), ids)


def check_eos(tokenizer) -> None:
    """Raise `ValueError` for a tokenizer without EOS: an answer could never end."""
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no EOS token, so an answer could never end; set "
            "tokenizer.eos_token and save it"
        )


def find_end_id(tokenizer, end: str) -> int:
    """Return the token that ends a chat's answer: a special one with which `end` begins, or EOS."""
    ids = tokenizer(end, add_special_tokens=False)["input_ids"]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return ids[0] if ids and ids[0] in special else tokenizer.eos_token_id


def count_common_prefix(a: list[int], b: list[int]) -> int:
    """Return the number of leading ids that two sequences share."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
