"""Adapters on a plain HF model: forward hooks that edit the last prompt token, and nothing else.

    with AdapterHooks(model, adapter) as attached:
        model.generate(**tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt"))
        attached.gates                                   # [L, B] gate values of that prefill

`grun.inference.positions` finds the token; decode steps are not edited and meet the edit through
the KV cache, so they cost nothing."""

from collections.abc import Sequence
from contextlib import contextmanager
from functools import wraps

import torch
from torch import Tensor, nn

from grun.adapter.composition import Combination
from grun.adapter.weights import Adapter
from grun.inference.positions import EditPositions, PromptEndLocator
from grun.inference.token_gate_hooks import TokenGateHooks
from unlearn.language_model.models import decoder_layers


class AdapterHooks:
    """Adapters on one model, also reached as `model.grun`. Nothing is edited while `off()` holds,
    or after `remove()`.

    adapters: one, or a list of K with their `names`, whose edits `combination` adds up. Raises
    `ValueError` when the model has some already."""

    def __init__(
        self,
        model: nn.Module,
        adapters: Adapter | Sequence[Adapter],
        combination: Combination | None = None,
        names: Sequence[str] = (),
    ):
        if "grun" in vars(model):
            raise ValueError(
                "this model has adapters attached already: remove them first, model.grun.remove(), or attach all as one list"
            )
        self.alone = isinstance(adapters, Adapter)
        self.adapters: list[Adapter] = [adapters] if self.alone else list(adapters)
        self.names = list(names) or [str(k) for k in range(len(self.adapters))]
        self.model = model
        self.combination = combination or Combination("sum")
        self.chosen = list(range(len(self.adapters)))
        self.ends = PromptEndLocator(model)
        self.places: EditPositions | None = None
        self.logits: dict[int, Tensor] = {}
        self.handles = [model.register_forward_pre_hook(self._find_places, with_kwargs=True)]
        self.reaches = [
            TokenGateHooks(self, k)
            for k, adapter in enumerate(self.adapters)
            if not adapter.choices.plain
        ]  # GRUN+
        self.handles += [handle for reach in self.reaches for handle in reach.hooks()]
        self.handles += [
            decoder_layers(model)[layer].register_forward_hook(self._hook(layer))
            for layer in self.layers
        ]
        self.handles += [handle for reach in self.reaches for handle in reach.edit_hooks()]
        self._watch_generate()
        model.grun = self

    @property
    def layers(self) -> list[int]:
        """Every edited layer, in depth order."""
        return sorted({layer for adapter in self.adapters for layer in adapter.layers})

    @property
    def adapter(self) -> Adapter:
        """The adapter, where there is one."""
        assert self.alone
        return self.adapters[0]

    @property
    def gate_logits(self) -> Tensor | None:
        """float32 of the last prefill, layers in depth order: [L, B] of one adapter, [K, L, B] of a
        list (NaN where adapter k does not gate that layer); None without gates."""
        values = [logits for _, logits in sorted(self.logits.items())]
        if not values or all(bool(v.isnan().all()) for v in values):
            return None
        stacked = torch.stack([v.to(values[0].device) for v in values], 1)
        return stacked[0] if self.alone else stacked

    @property
    def gates(self) -> Tensor | None:
        """Gate values in (0, 1) of the last prefill; shape as `gate_logits`."""
        return None if self.gate_logits is None else self.gate_logits.sigmoid()

    @contextmanager
    def at(self, positions: Tensor):
        """Within it, passes edit column positions[b] of row b, counted from 0 with padding on the
        left and cached tokens included."""
        with self.ends.at(positions):
            yield self

    @contextmanager
    def only(self, names: Sequence[str]):
        """Within it, these adapters alone are in force; none of them: the base model."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(
                f"there is no adapter {unknown[0]!r} here; there are {', '.join(self.names) or 'none'}"
            )
        before = self.chosen
        self.chosen = [k for k, name in enumerate(self.names) if name in names]
        try:
            yield self
        finally:
            self.chosen = before

    def off(self):
        """Within it, the model is the base model."""
        return self.only([])

    def remove(self) -> None:
        """Take the hooks off: the model is the base model again."""
        while self.handles:
            self.handles.pop().remove()
        if vars(self.model).get("grun") is self:
            del self.model.grun
            self.restore_generate()

    def __enter__(self) -> "AdapterHooks":
        return self

    def __exit__(self, *_) -> None:
        self.remove()

    def _watch_generate(self) -> None:
        """Let `generate` say where its prompt ends: without a cache its later passes look like
        plain ones."""
        plain = self.model.generate
        own = "generate" in vars(self.model)

        @wraps(plain)
        def generate(*args, **kwargs):
            with self.ends.of_generate(args, kwargs):
                return plain(*args, **kwargs)

        self.model.generate = generate
        self.restore_generate = (
            (lambda: setattr(self.model, "generate", plain))
            if own
            else (lambda: delattr(self.model, "generate"))
        )

    def _find_places(self, _module, args, kwargs) -> None:
        self.places = self.ends.find(args, kwargs) if self.chosen else None
        if not self.chosen or (self.places is not None and self.places.first):
            self.logits = {}

    def _hook(self, layer: int):
        def edit(_module, _args, output):
            if self.places is None:
                return None
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = self._edit(layer, hidden)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return edit

    def _edit(self, layer: int, hidden: Tensor) -> Tensor:
        """hidden [rows, T, d] with the edits of the adapters in force, all of which read the same
        unedited vectors."""
        where = (self.places.rows.to(hidden.device), self.places.columns.to(hidden.device))
        h = hidden[where]
        found = {}
        for number, k in enumerate(self.chosen):
            if layer in self.adapters[k].layers and self.adapters[k].choices.plain:
                found[number] = self.adapters[k].change(layer, h)
        if not found:
            return hidden
        changes, logits = zip(*found.values(), strict=True)
        if layer not in self.logits:
            self.logits[layer] = h.new_full(
                (len(self.chosen), self.places.size), torch.nan, dtype=torch.float32
            )
        for number, (_, value) in found.items():
            if value is not None:
                self.logits[layer][number, self.places.examples.to(h.device)] = value.detach()
        added = self.combination(list(changes), list(logits), len(self.chosen))
        return hidden.index_put(where, (h.to(added.dtype) + added).to(h.dtype))
