"""The cached-suffix engine: exact GRUN training that runs only what an edit can change.

The base is frozen, attention is causal, and the first edit is at the last prompt token of layer l1.
So, once per example: the output of block l1 on [last prompt token + answer], and the keys and
values of all earlier positions in the blocks above. A step then runs blocks l1 + 1 .. on the
suffixes of all its batches together (`grun.engines.packed_suffix`), with logits only where labels
are."""

from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grun.adapter.weights import Adapter
from grun.engines.packed_suffix import Packed, run_above, run_below, run_suffixes
from grun.inference.token_gate_hooks import low_rank_update
from unlearn.language_model.batches import AnswerLogits, Batch
from unlearn.language_model.hidden_states import seen_at
from unlearn.language_model.models import decoder_layers, free_memory
from unlearn.language_model.prompts import Encoded

FREE_SHARE = 0.4  # of the memory free on the model's device, where --cache_gb does not say


@dataclass
class CachedPrefix:
    """What the layers above l1 need of one example: hidden [S, d]; prefix [2, L_above, H_kv, P,
    d_head], keys and values."""

    hidden: Tensor
    prefix: Tensor

    @property
    def n_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.hidden, self.prefix))


class CachedEngine:
    """Says the same as `PyveneEngine`, from cached prefixes.

    cache_gb bounds what is kept, on the model's device; beyond it the examples used longest ago are
    dropped and computed again when they return, so memory never runs out and no result changes."""

    def __init__(
        self,
        model: nn.Module,
        adapter: Adapter,
        cache_gb: float | None = None,
        build_batch: int = 32,
    ):
        self.model = model
        self.adapter = adapter
        self.build_batch = build_batch
        self.first = adapter.layers[0]
        self.depth = len(decoder_layers(model))
        self.device = next(model.parameters()).device
        self.budget = (
            free_memory(self.device) * FREE_SHARE if cache_gb is None else cache_gb * 2**30
        )
        self.entries: OrderedDict[tuple, CachedPrefix] = OrderedDict()
        self.used = 0
        self.built = 0
        self.returns_tuple = False

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        return self.run(batches, Edits(self.adapter), state_layer)

    @torch.no_grad()
    def reference_forward(self, batch: Batch, state_layer: int | None = None) -> AnswerLogits:
        return self.run({"reference": batch}, None, state_layer)["reference"]

    def run(
        self, batches: dict[str, Batch], edits: "Edits | None", state_layer: int | None
    ) -> dict[str, AnswerLogits]:
        """One forward over the suffixes of all batches; what comes out is split by batch
        afterwards.

        Raises `ValueError` where labels lie before the last prompt token, or `state_layer` below
        the first edited layer: neither is run."""
        encoded = [e for batch in batches.values() for e in batch.encoded]
        self.check_runnable(encoded, state_layer)
        entries = self.entries_of(encoded)
        packed = Packed(
            [len(e.ids) - e.prompt for e in encoded],
            [e.prompt - 1 for e in encoded],
            [e.prefix for e in entries],
            self.first,
            self.device,
        )
        hidden = torch.cat([e.hidden for e in entries])
        inputs, labels = (
            torch.tensor(
                [i for e in encoded for i in e.ids[e.prompt + shift : len(e.ids) + shift]],
                device=self.device,
            )
            for shift in (-1, 0)
        )
        with ExitStack() as stack:
            outputs = None
            if edits:
                stack.enter_context(edits.hooked(self.model, packed.starts))
                hidden = edits.apply(self.first, hidden[None])[0]
            if state_layer is not None:  # after the edits' hooks, so that it sees edited states
                outputs = stack.enter_context(seen_at(self.model, state_layer))
            logits = run_suffixes(self.model, hidden, inputs, packed, self.returns_tuple)[0]
        tokens = [sum(len(e.ids) - e.prompt for e in batch.encoded) for batch in batches.values()]
        sizes = [len(batch) for batch in batches.values()]
        nothing = [None] * len(sizes)
        gates = edits.gates.split(sizes, 1) if edits and edits.logits else nothing
        states = outputs[0][0].split(tokens) if outputs else nothing
        parts = zip(
            batches,
            logits.float().split(tokens),
            labels.split(tokens),
            packed.rows.split(tokens),
            sizes,
            gates,
            states,
            strict=True,
        )
        return {
            name: AnswerLogits(
                batch_logits, label, row - row[0], size, gate_logits=gate, states=state
            )
            for name, batch_logits, label, row, size, gate, state in parts
        }

    def check_runnable(self, encoded: list[Encoded], state_layer: int | None) -> None:
        """Raise `ValueError` for labels or states that the cached engine does not compute."""
        if any(e.scored_from < e.prompt for e in encoded):
            raise ValueError(
                "--label_start answer_tag scores tokens before the edit, which the cached engine "
                "does not run; use --engine pyvene"
            )
        if state_layer is not None and state_layer < self.first:
            raise ValueError(
                f"states of layer {state_layer} lie below the first edited layer {self.first}, "
                "which the cached engine does not run; use --engine pyvene"
            )

    def entries_of(self, encoded: list[Encoded]) -> list[CachedPrefix]:
        """The entries of one step: from the cache, or computed now, longest first."""
        keys = [tuple(e.ids) for e in encoded]
        found = {key: self.entries[key] for key in keys if key in self.entries}
        for key in found:
            self.entries.move_to_end(key)
        missing = sorted(
            {key: e for key, e in zip(keys, encoded, strict=True) if key not in found}.items(),
            key=lambda item: -len(item[0]),
        )
        for i in range(0, len(missing), self.build_batch):
            chosen = dict(missing[i : i + self.build_batch])
            fresh = dict(zip(chosen, self.build(list(chosen.values())), strict=True))
            found |= fresh
            self.keep(fresh)
        return [found[key] for key in keys]

    @torch.no_grad()
    def build(self, encoded: list[Encoded]) -> list[CachedPrefix]:
        """The frozen base, packed: blocks 0 .. l1 on whole examples, and those above on what
        precedes the edit. Nothing else is computed."""
        self.built += len(encoded)
        lengths = [len(e.ids) - 1 for e in encoded]
        before = [e.prompt - 1 for e in encoded]
        hidden, self.returns_tuple = run_below(
            self.model, [e.ids[:-1] for e in encoded], self.first
        )
        parts = hidden.split(lengths)
        suffixes = [part[n:].clone() for part, n in zip(parts, before, strict=True)]
        if self.first + 1 == self.depth or not any(before):
            return [
                CachedPrefix(suffix, suffix.new_zeros(2, self.depth - self.first - 1, 1, 0, 1))
                for suffix in suffixes
            ]
        below = torch.cat([part[:n] for part, n in zip(parts, before, strict=True)])
        states = run_above(
            self.model,
            below,
            [e.ids[:n] for e, n in zip(encoded, before, strict=True)],
            self.first,
            self.returns_tuple,
        )
        return [
            CachedPrefix(*entry)
            for entry in zip(
                suffixes, (part.clone() for part in states.split(before, 3)), strict=True
            )
        ]

    def keep(self, fresh: dict[tuple, CachedPrefix]) -> None:
        """Keep entries; the ones used longest ago make room."""
        self.entries |= fresh
        self.used += sum(entry.n_bytes for entry in fresh.values())
        while self.used > self.budget and self.entries:
            _, oldest = self.entries.popitem(last=False)
            self.used -= oldest.n_bytes


class Edits:
    """The adapter's edits during one packed pass, each at the first token of every suffix; gate
    logits gather in depth order."""

    def __init__(self, adapter: Adapter):
        self.adapter = adapter
        self.logits = []

    def apply(self, layer: int, hidden: Tensor) -> Tensor:
        """hidden [1, N, d] with the suffixes' first tokens edited."""
        edited, logits = self.adapter.edit(layer, hidden[0, self.starts])
        if logits is not None:
            self.logits.append(logits)
        return hidden.index_put((torch.zeros_like(self.starts), self.starts), edited)

    @property
    def gates(self) -> Tensor:
        """[L, B] float32 gate logits."""
        return torch.stack(self.logits)

    @contextmanager
    def hooked(self, model: nn.Module, starts: Tensor):
        """Within it, the blocks above the first edited one are edited at `starts`."""
        self.starts = starts

        def hook(layer):
            return lambda _module, _args, out: (
                (self.apply(layer, out[0]), *out[1:])
                if isinstance(out, tuple)
                else self.apply(layer, out)
            )

        handles = [
            decoder_layers(model)[layer].register_forward_hook(hook(layer))
            for layer in self.adapter.layers[1:]
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class SpreadEdits(Edits):
    """Edits on every suffix token, that is from the answer tag on; a trained gate reads the first
    one. A metric gate counts as open."""

    def apply(self, layer: int, hidden: Tensor) -> Tensor:
        unit = self.adapter.edits[str(layer)]
        h = hidden[0]
        added = low_rank_update(unit, h)
        if unit.gate is not None:
            logits = unit.gate(h[self.starts])
            self.logits.append(logits)
            example = (
                torch.bucketize(torch.arange(len(h), device=h.device), self.starts, right=True) - 1
            )
            added = logits.sigmoid()[example, None] * added
        return (h.to(added.dtype) + added).to(h.dtype)[None]


class SpreadEngine(CachedEngine):
    """The cached-suffix engine with `SpreadEdits`."""

    def forward_answers(
        self, batches: dict[str, Batch], state_layer: int | None = None
    ) -> dict[str, AnswerLogits]:
        return self.run(batches, SpreadEdits(self.adapter), state_layer)
