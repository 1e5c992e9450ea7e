"""Prompts: the text around a question, and where the prompt ends.

The last prompt token is the position that GRUN edits and the answer's first token is the first one
a loss scores, so both are counted here, once, for every tokenizer: the prompt is the longest common
prefix of ids(prompt) and ids(prompt + answer)."""

from dataclasses import dataclass, field

# question -> (text before the answer tag, answer tag, what joins it to the answer); spec 1.2
TEMPLATES = {
    "qa": ("Question: {q}\n", "Answer:", " "),
    "llama2": ("[INST] {q} [/INST]", "", ""),
    "text": (
        "{q}",
        "",
        " ",
    ),  # a document: the question is its first part, taken as it is, the answer what follows
}
LABEL_STARTS = ("answer", "answer_tag", "all")
# GRUN trains and evaluates with one more space before the newline than the target was tuned with
# (spec 1.2)
STYLES = {"finetune": "{q}\n", "grun": "{q} \n"}


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt + answer + EOS, the number of prompt tokens, and the first token a loss
    scores."""

    ids: list[int]
    prompt: int
    scored_from: int = field(default=-1)

    def __post_init__(self):
        if self.scored_from < 0:
            object.__setattr__(self, "scored_from", self.prompt)

    @property
    def answer(self) -> list[int]:
        return self.ids[self.prompt :]


class PromptEncoder:
    """Turns questions and answers into token ids for one tokenizer.

    template: `qa`, `llama2` or `text`; style: `finetune` (as the target was tuned) or `grun`
    (upstream's extra space); label_start: `answer` (score answer + EOS), `answer_tag` (score
    `Answer:` too, as TOFU's and the baselines' code do) or `all` (the prompt too but for its first
    token, as MUSE's code does)."""

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
        if tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer has no EOS token, so an answer could never end; set tokenizer.eos_token and save it"
            )
        self.tokenizer = tokenizer
        self.template = template
        self.style = style
        self.label_start = label_start
        self.max_length = max_length

    def text(self, question: str) -> str:
        """The prompt up to its last token: no trailing space, which would merge with the answer's
        first word."""
        before, tag, _ = TEMPLATES[self.template]
        question = question if self.template == "text" else question.strip()
        return before.replace("{q}\n", STYLES[self.style]).replace("{q}", question) + tag

    def answered(self, question: str, answer: str) -> str:
        """The prompt with an answer behind it."""
        return self.text(question) + TEMPLATES[self.template][2] + answer

    def prompt_ids(self, question: str) -> list[int]:
        return self._fit(self.tokenizer(self.text(question))["input_ids"])

    def encode(self, question: str, answer: str) -> Encoded:
        """ids(prompt + answer) + EOS. Raises `ValueError` if the answer has no tokens of its own
        within `max_length`."""
        prompt = self.text(question)
        full = self._fit(self.tokenizer(self.answered(question, answer))["input_ids"], room=1)
        length = common_prefix(self.tokenizer(prompt)["input_ids"], full)
        if length >= len(full):
            raise ValueError(
                f"the answer {answer!r} has no tokens after its prompt within {self.max_length} tokens: {question!r}"
            )
        if full[-1] != self.tokenizer.eos_token_id:
            full = full + [self.tokenizer.eos_token_id]
        start = 1 if self.label_start == "all" else length
        if self.label_start == "answer_tag":
            tag = TEMPLATES[self.template][1]
            start = common_prefix(self.tokenizer(prompt.removesuffix(tag))["input_ids"], full)
        return Encoded(full, length, start)

    def _fit(self, ids: list[int], room: int = 0) -> list[int]:
        return ids[: self.max_length - room]


def common_prefix(a: list[int], b: list[int]) -> int:
    """Number of leading ids that two sequences share."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
