"""Where a GRUN+ adapter edits and how far its gate is open (`grun.adapter.edit_policy`).

The gate is decided in the prefill, on the prompt, and carried through decode steps. What is added
where it is open is the adapter's own low-rank update, and `grun.inference.hooks` adds it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from grun.adapter.edit_policy import EditPolicy
from grun.inference.per_thread import PerThread
from unlearn.language_model.architecture import find_decoder_layers

NEEDS_WHOLE_PROMPT = (
    "a GRUN+ gate reads the whole prompt in one pass: no chunked prefill, cached prefix or "
    "continuous batching with it"
)


@dataclass
class Prefill:
    """What was decided on the prompts of one batch.

    prompt_ends    [B] int64: last prompt token
    answer_starts  [B] int64: first token that answer_on edits
    real           [B, T] bool: tokens that are no padding
    fired          [B, T] bool: tokens of the pass under way that fire, or are edited with one
    answer_fired   [B, T] bool: tokens of prompt and answer so far that are in the answer and fire
    past           tokens before the pass under way; a draft that was turned down is none
    openness       layer -> [B] float32 in 0..1
    is_current     whether the pass under way is the prefill
    """

    prompt_ends: Tensor
    answer_starts: Tensor
    real: Tensor
    fired: Tensor | None = None
    answer_fired: Tensor | None = None
    past: int = 0
    openness: dict[int, Tensor] = field(default_factory=dict)
    is_current: bool = True


class TokenGateState:
    """One thread's passes: what was decided on its prompts, whether the adapter is in force in the
    pass under way, and the logits of a trained gate.
    """

    def __init__(self):
        self.prefill: Prefill | None = None
        self.in_force = False
        self.trained_logits: dict[int, Tensor] = {}


class TokenGateHooks:
    """One GRUN+ adapter of an `AdapterHooks`: reads its gate, and names the tokens to edit.

    training: the adapter is being trained. A closed-form gate then counts as open on every prompt,
    though the tokens that fire are still those that fire; a trained gate is soft, and its logits
    keep their gradients in `state.trained_logits` (layer -> [B] float32).
    """

    def __init__(self, adapter_hooks, number: int, training: bool = False):
        self.adapter_hooks = adapter_hooks
        self.number = number
        self.adapter = adapter_hooks.adapters[number]
        self.policy: EditPolicy = self.adapter.edit_policy
        self.force_open = False
        if training:
            self.force_open = self.policy.force_open_in_training
            self.policy = self.policy.for_training()
        self.threads = PerThread(TokenGateState)

    @property
    def state(self) -> TokenGateState:
        """What this thread is doing."""
        return self.threads.state

    def register_readers(self) -> Iterator[RemovableHandle]:
        """Register the hooks that read the gate, before any that edits; yield their handles."""
        model = self.adapter_hooks.model
        yield model.register_forward_pre_hook(self._begin_pass, with_kwargs=True)
        if self.adapter.metric_gate is not None:
            layer = find_decoder_layers(model)[self.adapter.metric_gate.layer]
            yield layer.register_forward_hook(self._read_states)

    def _begin_pass(self, _module, args, kwargs) -> None:
        """Start afresh in a prefill; keep what was decided in a decode step."""
        self.state.in_force = self.number in self.adapter_hooks.active
        if not self.state.in_force:
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        tokens = ids if ids is not None else kwargs["inputs_embeds"]
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        positions = self.adapter_hooks.positions
        has_all_ends = positions is not None and len(positions.rows) == positions.size
        is_packed = kwargs.get("cu_seq_lens_q") is not None
        if past == 0 and has_all_ends and not is_packed:
            ends = positions.columns.to(tokens.device)
            starts = ends if ids is None else find_answer_starts(ids, self.policy.tag, ends)
            real = find_real_tokens(tokens, kwargs.get("attention_mask"))
            self.state.prefill = Prefill(ends, starts, real)
            if cache is not None and self.policy.at == "fired_on":
                follow_beams(cache)[self.number] = self.state.prefill
            return
        same_batch = self.state.prefill is not None and len(self.state.prefill.prompt_ends) == len(
            tokens
        )
        if not (past and positions is None and same_batch):
            raise ValueError(NEEDS_WHOLE_PROMPT)
        self.state.prefill.is_current = False
        self.state.prefill.past = past

    def _read_states(self, _module, _args, output) -> None:
        """Decide from unedited states [B, T, d] which tokens fire and, in a prefill, which prompts.

        This is the hook on the closed-form gate's layer.
        """
        if not self.state.in_force:
            return
        prefill = self.state.prefill
        hidden = output[0] if isinstance(output, tuple) else output
        logits = self.adapter.metric_gate(hidden.detach())
        if not prefill.is_current:
            prefill.fired = logits > 0
            before = prefill.answer_fired[:, : prefill.past]
            prefill.answer_fired = torch.cat([before, prefill.fired], 1)
            return
        columns = torch.arange(hidden.shape[1], device=hidden.device)
        ends = prefill.prompt_ends[:, None]
        in_answer = columns >= prefill.answer_starts[:, None]
        question = prefill.real & ~in_answer
        fired = (logits > 0) & prefill.real
        prefill.fired = fired | (dilate(fired & question, *self.policy.span) & question)
        prefill.answer_fired = prefill.fired & in_answer
        reads = columns == ends if self.policy.reads == "last" else columns <= ends
        highest = logits.masked_fill(~(prefill.real & reads), -torch.inf).amax(1)
        self.adapter_hooks.record_gate(self.adapter.metric_gate.layer, self.number, highest)
        is_soft = self.policy.threshold == "soft"
        openness = highest.sigmoid() if is_soft else (highest > 0).float()
        prefill.openness = dict.fromkeys(self.adapter.layers, openness)

    def openness(self, layer: int, hidden: Tensor) -> Tensor:
        """Return how far each prompt's gate is open in a layer, [B] float32 in 0..1.

        A trained gate reads the last prompt token of hidden [B, T, d] in the prefill.
        """
        prefill = self.state.prefill
        if self.policy.fit == "bce" and prefill.is_current:
            rows = torch.arange(len(hidden), device=hidden.device)
            gate = self.adapter.intervention(layer).gate
            logits = gate(hidden[rows, prefill.prompt_ends])
            self.adapter_hooks.record_gate(layer, self.number, logits)
            self.state.trained_logits[layer] = logits
            prefill.openness[layer] = logits.sigmoid()
            if self.policy.threshold == "calibrated":
                is_open = logits > self.policy.taus[str(layer)]
                prefill.openness[layer] = prefill.openness[layer] * is_open.float()
        openness = prefill.openness[layer]
        return torch.ones_like(openness) if self.force_open else openness

    def edited_tokens(self, width: int) -> Tensor:
        """Return [B, width] bool: the tokens of this pass at which the policy edits."""
        prefill = self.state.prefill
        at = self.policy.at
        if not prefill.is_current:
            if at == "fired":
                edited = prefill.fired
            elif at == "fired_on":
                edited = (prefill.answer_fired.cumsum(1) > 0)[:, -width:]
            else:
                ends = prefill.prompt_ends
                edited = torch.full((len(ends), 1), at != "last", device=ends.device)
            return edited.expand(-1, width)
        columns = torch.arange(width, device=prefill.prompt_ends.device)
        if at == "last":
            return columns == prefill.prompt_ends[:, None]
        in_answer = columns >= prefill.answer_starts[:, None]
        edited = torch.zeros_like(prefill.real)
        if self.policy.edits_fired_tokens:
            edited |= prefill.fired
        if at == "fired_on":
            edited |= prefill.answer_fired.cumsum(1) > 0
        if "answer_on" in at:
            edited |= in_answer
        return edited & prefill.real

    def find_edits(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return rows [n], columns [n] and openness [n] of the tokens to edit; None for none.

        hidden [B, T, d] is the layer's output.
        """
        if not self.state.in_force or layer not in self.adapter.layers:
            return None
        openness = self.openness(layer, hidden)
        edited = self.edited_tokens(hidden.shape[1]) & (openness > 0)[:, None]
        rows, columns = edited.nonzero(as_tuple=True)
        return (rows, columns, openness[rows]) if len(rows) else None


class FollowBeams:
    """In place of a cache's `reorder_cache`: reorders which answer tokens have fired as well.

    prefills: number of the adapter -> its prefill.
    """

    def __init__(self, cache):
        self.reorder_cache = cache.reorder_cache
        self.prefills: dict[int, Prefill] = {}

    def __call__(self, beam_idx: Tensor) -> None:
        self.reorder_cache(beam_idx)
        for prefill in self.prefills.values():
            rows = beam_idx.to(prefill.answer_fired.device)
            prefill.answer_fired = prefill.answer_fired[rows]


def follow_beams(cache) -> dict[int, Prefill]:
    """Return the prefills that follow the beams of a key-value cache."""
    if not isinstance(cache.reorder_cache, FollowBeams):
        cache.reorder_cache = FollowBeams(cache)
    return cache.reorder_cache.prefills


def dilate(fired: Tensor, before: int, after: int) -> Tensor:
    """fired [B, T] bool -> [B, T] bool: true as well for the `before` tokens before and the `after`
    tokens after every one that fired.
    """
    padded = nn.functional.pad(fired.float(), (after, before))
    return nn.functional.max_pool1d(padded[:, None], before + after + 1, stride=1)[:, 0] > 0


def find_answer_starts(ids: Tensor, tag: list[int], ends: Tensor) -> Tensor:
    """Return [B]: the last token of the first answer tag in each prompt of ids [B, T].

    Without a tag in the prompt it is the last prompt token, ends [B].
    """
    if not tag or ids.shape[1] < len(tag):
        return ends
    matches = (ids.unfold(1, len(tag), 1) == torch.tensor(tag, device=ids.device)).all(-1)
    tag_ends = torch.where(matches.any(1), matches.int().argmax(1) + len(tag) - 1, ends)
    return torch.minimum(tag_ends, ends)


def find_real_tokens(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Return [B, T] bool, false for padding; all true where there is no 2-d attention mask."""
    if torch.is_tensor(mask) and mask.dim() == 2:
        return mask[:, : tokens.shape[1]].bool()
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
