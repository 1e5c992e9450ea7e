"""The parts of a set of documents, as in MUSE (import only).

    generation   verbmem, knowmem_f, knowmem_r: generation, rougeL_f1 and rougeL_f1_ou against the
                 true text, gates (one value per gated layer, of gated models)
    likelihood   privleak_forget, _retain, _holdout: logprobs [n - 1], log p of every token of a
                 text but its first. Nothing for a model without likelihoods

A gated model edits one position of a prompt. VerbMem and KnowMem have a prompt; PrivLeak scores a
text that has none, so there the edit sits where training put it in such a text, behind its first
quarter (unlearn.benchmarks.muse.split_prompt): what comes before is the untouched model's.
"""

from dataclasses import dataclass

from eval.metrics.muse import cut_answer, rouge_f1
from eval.scoring.batching import batch_by_length, show_progress
from eval.scoring.generation import generate_answers
from eval.scoring.likelihood import score_logits
from eval.scoring.model import EvalModel
from eval.scoring.set_file import Part, Rows, shorten_floats
from unlearn.benchmarks.examples import Example
from unlearn.benchmarks.muse import split_into_chunks, split_prompt
from unlearn.language_model.batches import pad
from unlearn.language_model.prompts import Encoded, PromptEncoder, count_common_prefix

# new tokens of each generated set, as in MUSE's eval.py
NEW_TOKENS = {"verbmem": 128, "knowmem_f": 32, "knowmem_r": 32}
TEXT_SETS = ("privleak_forget", "privleak_retain", "privleak_holdout")


@dataclass(frozen=True)
class DocumentScorer:
    """Scores sets of documents. batch_size changes memory, not results; prompt_space: KnowMem's
    prompt ends in a space.
    """

    batch_size: int
    prompt_space: bool
    dtype: str

    def parts(self, set_name: str) -> dict[str, Part]:
        """The one part of a set."""
        settings: dict = {"dtype": self.dtype}
        if set_name in TEXT_SETS:
            return {"likelihood": Part(settings, self.likelihood)}
        settings["max_new_tokens"] = NEW_TOKENS[set_name]
        if set_name != "verbmem":
            settings["prompt_space"] = self.prompt_space
        return {"generation": Part(settings, self.generation)}

    def generation(
        self, eval_model: EvalModel, set_name: str, examples: list[Example], _rows: Rows
    ) -> Rows:
        """The greedy continuation of every prompt, and its ROUGE-L F1."""
        new_tokens = NEW_TOKENS[set_name]
        end = " " if set_name != "verbmem" and self.prompt_space else ""
        answers = generate_answers(
            eval_model,
            [example.question + end for example in examples],
            self.batch_size,
            new_tokens,
            show_progress(eval_model, set_name, "generation"),
        )
        columns = []
        for example, (text, gates) in zip(examples, answers, strict=True):
            truth = example.answer
            if set_name == "verbmem":
                truth = keep_first_tokens(eval_model, example.answer, new_tokens)
            else:
                text = cut_answer(text)
            row = {
                "generation": text,
                "rougeL_f1": rouge_f1(text, truth),
                "rougeL_f1_ou": rouge_f1(text, example.answer, "ou"),
            }
            columns.append(row | ({"gates": gates} if gates else {}))
        return columns

    def likelihood(
        self, eval_model: EvalModel, set_name: str, examples: list[Example], _rows: Rows
    ) -> Rows:
        """The log-probabilities of every text's tokens."""
        pad_id = eval_model.prompt_encoder.tokenizer.pad_token_id
        encoded = [encode_text(eval_model.prompt_encoder, e.answer) for e in examples]
        progress = show_progress(eval_model, set_name, "likelihood")
        columns: Rows = [{} for _ in examples]
        for indices in progress(batch_by_length([len(e.ids) for e in encoded], self.batch_size)):
            batch = pad([encoded[i] for i in indices], pad_id, eval_model.device)
            answers = eval_model.forward_answers(batch)
            if answers is None:
                return columns
            for i, tokens in zip(indices, score_logits(answers), strict=True):
                columns[i] = {"logprobs": shorten_floats(tokens.logprobs)}
        return columns


def keep_first_tokens(eval_model: EvalModel, text: str, count: int) -> str:
    """The text of its first `count` ids, the tokenizer's first special one included, as in MUSE's
    metrics/verbmem.py.
    """
    tokenizer = eval_model.prompt_encoder.tokenizer
    return tokenizer.decode(tokenizer(text)["input_ids"][:count], skip_special_tokens=True).strip()


def encode_text(prompt_encoder: PromptEncoder, text: str) -> Encoded:
    """A text of which every token but the first is scored; its `prompt` ends where training splits
    it, for a gated model's edit.
    """
    ids = prompt_encoder.tokenizer(text)["input_ids"]
    prompt, _ = split_prompt(split_into_chunks(text)[0])
    prompt_ids = prompt_encoder.tokenizer(prompt)["input_ids"]
    return Encoded(ids, max(1, count_common_prefix(prompt_ids, ids)), 1)
