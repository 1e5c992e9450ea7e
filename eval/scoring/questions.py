"""The parts of a set of questions, as in TOFU and authors (import only).

likelihood   one teacher-forced pass over all answers of a set: answer_nll (a sum),
             answer_tokens, paraphrase_nll and perturbed_nll (means over tokens); on the sets of
             membership attacks also the answer's tokens one by one, as lists: answer_logprobs,
             answer_correct, answer_logp_mean, answer_logp_variance; is_cut, where --max_length
             cuts one of the answers. Nothing for a model without likelihoods
generation   one batched greedy generation: generation, rougeL_recall, rouge1_recall, leaked
             (whether the answer holds the value asked for, where the data name one), gates (one
             value per gated layer, of gated models); on the forget set also fluency_ours
gibberish    clean, on the forget set, where a classifier is given
gradient     gradient_norm, on the sets of membership attacks
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from eval.metrics.fluency import CharacterModel, Classifier
from eval.metrics.leak import contains_value
from eval.metrics.tofu import rouge_recall
from eval.scoring.batching import show_progress
from eval.scoring.generation import generate_answers
from eval.scoring.gradients import compute_gradient_norms
from eval.scoring.likelihood import TokenStatistics, score_answers
from eval.scoring.model import EvalModel
from eval.scoring.set_file import Part, Rows, shorten_floats
from unlearn.benchmarks.examples import Example

MEMBERSHIP_SETS = ("forget", "nonmember")


@dataclass(frozen=True)
class QuestionScorer:
    """Scores sets of questions.

    batch_size   changes memory, not results
    char_model   for fluency_ours; classifier: for fluency; None leaves the column out
    settings     what else decides numbers (dtype and the like)
    """

    batch_size: int = 64
    max_new_tokens: int = 256
    char_model: CharacterModel | None = None
    classifier: Classifier | None = None
    settings: dict = field(default_factory=dict)

    def parts(self, set_name: str) -> dict[str, Part]:
        """The parts of a set by name, in the order in which they are computed."""
        parts = {"likelihood": Part(self.settings, self.likelihood)}
        if set_name != "nonmember":  # membership attacks compare likelihoods alone
            settings = self.settings | {"max_new_tokens": self.max_new_tokens}
            parts["generation"] = Part(settings, self.generation)
            if set_name == "forget" and self.classifier:
                settings = settings | {"classifier": self.classifier.name}
                parts["gibberish"] = Part(settings, self.gibberish)
        if set_name in MEMBERSHIP_SETS:
            parts["gradient"] = Part(self.settings, self.gradient)
        return parts

    def likelihood(
        self, eval_model: EvalModel, set_name: str, examples: list[Example], _rows: Rows
    ) -> Rows:
        """The likelihoods of every answer, paraphrased answer and wrong answer."""
        answers = [list_answers(example) for example in examples]
        encoded = [
            eval_model.prompt_encoder.encode(example.question, answer)
            for example, own_answers in zip(examples, answers, strict=True)
            for answer in own_answers
        ]
        progress = show_progress(eval_model, set_name, "likelihood")
        scores = score_answers(eval_model, encoded, self.batch_size, progress)
        if scores is None:
            return [{} for _ in examples]
        remaining = zip(scores, encoded, strict=True)
        columns = []
        for example, own_answers in zip(examples, answers, strict=True):
            own_scores, own_encoded = zip(*[next(remaining) for _ in own_answers], strict=True)
            with_tokens = set_name in MEMBERSHIP_SETS
            row = build_likelihood_columns(example, own_scores, with_tokens)
            if any(e.is_cut for e in own_encoded):
                row["is_cut"] = True
            columns.append(row)
        return columns

    def generation(
        self, eval_model: EvalModel, set_name: str, examples: list[Example], _rows: Rows
    ) -> Rows:
        """The greedy answer to every question, and its ROUGE recall of the true one."""
        answers = generate_answers(
            eval_model,
            [example.question for example in examples],
            self.batch_size,
            self.max_new_tokens,
            show_progress(eval_model, set_name, "generation"),
        )
        columns = []
        for example, (text, gates) in zip(examples, answers, strict=True):
            row = {"generation": text} | rouge_recall(text, example.answer)
            if example.value is not None:
                row["leaked"] = contains_value(example.value, text)
            if set_name == "forget" and self.char_model:
                row["fluency_ours"] = self.char_model.fluency(text)
            if gates is not None:
                row["gates"] = gates
            columns.append(row)
        return columns

    def gradient(
        self, eval_model: EvalModel, set_name: str, examples: list[Example], rows: Rows
    ) -> Rows:
        """The gradient norm of every true answer."""
        if "answer_nll" not in rows[0]:
            return [{} for _ in examples]
        encoded = [eval_model.prompt_encoder.encode(e.question, e.answer) for e in examples]
        progress = show_progress(eval_model, set_name, "gradient")
        norms = compute_gradient_norms(eval_model, encoded, progress)
        return [{"gradient_norm": norm} for norm in norms]

    def gibberish(
        self, _eval_model: EvalModel, _set_name: str, _examples: list[Example], rows: Rows
    ) -> Rows:
        """The classifier's probability that every generation is clean text."""
        values = self.classifier.clean([row["generation"] for row in rows])
        return [{"clean": value} for value in values]


def list_answers(example: Example) -> list[str]:
    """The answers that are scored: the true one, its paraphrase if there is one, the wrong ones."""
    paraphrases = [example.paraphrased_answer] if example.paraphrased_answer else []
    return [example.answer, *paraphrases, *example.perturbed_answers]


def build_likelihood_columns(
    example: Example, scores: Sequence[TokenStatistics], with_tokens: bool
) -> dict:
    """The likelihood columns of one example, from the scores of `list_answers`; with_tokens: the
    true answer's tokens one by one too.
    """
    answer, *others = scores
    columns: dict = {"answer_nll": answer.nll_sum, "answer_tokens": len(answer)}
    if example.paraphrased_answer:
        columns["paraphrase_nll"] = others.pop(0).nll_mean
    if others:
        columns["perturbed_nll"] = [wrong.nll_mean for wrong in others]
    if with_tokens:
        columns["answer_logprobs"] = shorten_floats(answer.logprobs)
        columns["answer_correct"] = answer.correct.astype(int).tolist()
        columns["answer_logp_mean"] = shorten_floats(answer.mean)
        columns["answer_logp_variance"] = shorten_floats(answer.variance)
    return columns
