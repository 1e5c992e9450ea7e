"""GRUN+: what the gate reads, how it was fitted, where the edit acts. Plain GRUN is the combination
last, bce, last, soft.

    reads       last            the prompt's last token
                token           every prompt token: one that fires opens the gate
    fit         bce             trained with the edit (its own gate in every edited layer)
                metric          in closed form (`grun.adapter.metric_gate`), once, on states below
                                the first edit
    at          last            the prompt's last token
                answer_on       the last token of the answer tag ("Answer:") and every later one,
                                generated ones too
                fired           the tokens that fire; a generated token only where the prompt's gate
                                is open
                fired_on        the tokens that fire, and in the answer every token behind one
                fired+answer_on fired, and answer_on
    threshold   soft            the edit is scaled by sigmoid(G)
                calibrated      open or shut; where it is shut nothing is added, so the model is the
                                base, bit for bit

The gate is decided in the prefill, on the prompt, and carried through decode steps. Everything else
is `grun.inference.hooks`."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from grun.adapter.edit_policy import EditPolicy
from unlearn.language_model.models import decoder_layers


def low_rank_update(unit: nn.Module, h: Tensor) -> Tensor:
    """R (W h + b - R^T h): what a unit adds to h [..., d] at an open gate, float32."""
    rotation = unit.rotation()
    wanted = unit.learned_source(h.to(unit.learned_source.weight.dtype)).to(rotation.dtype)
    return (wanted - h.to(rotation.dtype) @ rotation) @ rotation.T


def spread(fired: Tensor, before: int, after: int) -> Tensor:
    """fired [B, T] bool -> [B, T] bool: also the `before` tokens before and the `after` tokens
    behind every one of them."""
    padded = nn.functional.pad(fired.float(), (after, before))
    return nn.functional.max_pool1d(padded[:, None], before + after + 1, stride=1)[:, 0] > 0


def tag_starts(ids: Tensor, tag: list[int], ends: Tensor) -> Tensor:
    """ids [B, T], ends [B]: last prompt token -> [B]: last token of the first answer tag in the
    prompt, or, without one, the last prompt token."""
    if not tag or ids.shape[1] < len(tag):
        return ends
    found = (ids.unfold(1, len(tag), 1) == torch.tensor(tag, device=ids.device)).all(-1)
    last = torch.where(found.any(1), found.int().argmax(1) + len(tag) - 1, ends)
    return torch.minimum(last, ends)


@dataclass
class Prefill:
    """What was decided on the prompts of one pass. ends, starts [B]: last prompt token, first token
    that answer_on edits; real [B, T] bool: tokens that are no padding; tokens [B, T] bool: fired;
    behind [B] bool: the answer has one that fired; openness: [B], or by layer; fresh: whether the
    pass under way is the prefill."""

    ends: Tensor
    starts: Tensor
    real: Tensor
    tokens: Tensor | None = None
    behind: Tensor | None = None
    openness: dict[int, Tensor] = field(default_factory=dict)
    fresh: bool = True


class TokenGateHooks:
    """One GRUN+ adapter of an `AdapterHooks`, by hooks of its own: a reader on the gate's layer and an
    editor on every edited one.

    `forced`: the gate counts as open on every prompt, as in training on forget data; the tokens
    that fire are still those that fire."""

    def __init__(self, adapter_hooks, number: int):
        self.adapter_hooks = adapter_hooks
        self.number = number
        self.forced = False
        self.adapter = adapter_hooks.adapters[number]
        self.choices: EditPolicy = self.adapter.choices
        self.prefill: Prefill | None = None
        self.active, self.trained = (
            False,
            {},
        )  # trained: gate logits [B] by layer, with gradients, of a bce gate

    def hooks(self) -> list:
        """Register them, readers before editors, so that every adapter's gate reads unedited
        states."""
        model = self.adapter_hooks.model
        door = self.adapter.door
        handles = [model.register_forward_pre_hook(self._begin, with_kwargs=True)]
        if door is not None:
            handles.append(
                decoder_layers(model)[door.layer].register_forward_hook(
                    lambda _m, _a, out: self._read(out[0] if isinstance(out, tuple) else out)
                )
            )
        return handles

    def edit_hooks(self) -> list:
        return [
            decoder_layers(self.adapter_hooks.model)[layer].register_forward_hook(
                self._editor(layer)
            )
            for layer in self.adapter.layers
        ]

    def _begin(self, _module, args, kwargs) -> None:
        """Before a pass: a prefill starts afresh, a decode step keeps what was decided."""
        self.active = self.number in self.adapter_hooks.chosen
        if not self.active:
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        mask = kwargs.get("attention_mask")
        cache = kwargs.get("past_key_values")
        places = self.adapter_hooks.places
        past = 0 if cache is None else int(cache.get_seq_length())
        if (
            past == 0
            and places is not None
            and len(places.rows) == places.size
            and kwargs.get("cu_seq_lens_q") is None
        ):
            tokens = ids if ids is not None else kwargs["inputs_embeds"]
            ends = places.columns.to(tokens.device)
            real = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
            if torch.is_tensor(mask) and mask.dim() == 2:
                real = mask[:, : tokens.shape[1]].bool()
            starts = ends if ids is None else tag_starts(ids, self.choices.tag, ends)
            self.prefill = Prefill(ends, starts, real)
        elif (
            past
            and places is None
            and self.prefill is not None
            and len(self.prefill.ends)
            == (ids if ids is not None else kwargs["inputs_embeds"]).shape[0]
        ):
            self.prefill.fresh = False
        else:
            raise ValueError(
                "a GRUN+ gate reads the whole prompt in one pass: no chunked prefill, cached prefix or continuous batching with it"
            )

    def _read(self, hidden: Tensor) -> None:
        """Decide on unedited states [B, T, d] of the gate's layer: which tokens fire, and, in the
        prefill, which prompts."""
        if not self.active:
            return
        p = self.prefill
        logits = self.adapter.door(hidden.detach())
        if not p.fresh:
            p.tokens = logits > 0
            p.behind = p.behind | p.tokens.any(1)
            return
        columns = torch.arange(hidden.shape[1], device=hidden.device)
        prompt = p.real & (
            columns == p.ends[:, None]
            if self.choices.reads == "last"
            else columns <= p.ends[:, None]
        )
        fired = (logits > 0) & p.real
        question = p.real & (columns < p.starts[:, None])
        p.tokens = fired | (spread(fired & question, *self.choices.span) & question)
        p.behind = (p.tokens & (columns >= p.starts[:, None])).any(1)
        highest = logits.masked_fill(~prompt, -torch.inf).amax(1)
        self.adapter_hooks.logits[self.adapter.door.layer] = self._told(highest)
        p.openness = dict.fromkeys(
            self.adapter.layers,
            highest.sigmoid() if self.choices.threshold == "soft" else (highest > 0).float(),
        )

    def _told(self, logits: Tensor) -> Tensor:
        told = self.adapter_hooks.logits.get(self.adapter.door.layer if self.adapter.door else -1)
        if told is None:
            told = logits.new_full((len(self.adapter_hooks.chosen), len(logits)), torch.nan)
        told[self.adapter_hooks.chosen.index(self.number)] = logits.detach()
        return told

    def _gate(self, layer: int, hidden: Tensor) -> Tensor:
        """[B] openness in a layer; a trained gate reads the last prompt token there."""
        p = self.prefill
        if self.choices.fit == "bce" and p.fresh:
            logits = self.adapter.edits[str(layer)].gate(
                hidden[torch.arange(len(p.ends), device=hidden.device), p.ends]
            )
            if layer not in self.adapter_hooks.logits:
                self.adapter_hooks.logits[layer] = logits.new_full(
                    (len(self.adapter_hooks.chosen), len(logits)), torch.nan
                )
            self.adapter_hooks.logits[layer][self.adapter_hooks.chosen.index(self.number)] = (
                logits.detach()
            )
            self.trained[layer] = logits
            p.openness[layer] = logits.sigmoid() * (
                1.0
                if self.choices.threshold == "soft"
                else (logits > self.choices.taus[str(layer)]).float()
            )
        return torch.ones_like(p.openness[layer]) if self.forced else p.openness[layer]

    def where(self, width: int) -> Tensor:
        """[B, T] bool: the tokens of this pass that the position rule names, on prompts whose gate
        is open."""
        p = self.prefill
        at = self.choices.at
        if not p.fresh:
            rows = (
                p.tokens
                if at == "fired"
                else p.behind[:, None]
                if at == "fired_on"
                else torch.full_like(p.ends[:, None], at != "last", dtype=torch.bool)
            )
            return rows.expand(-1, width)
        columns = torch.arange(width, device=p.ends.device)
        if at == "last":
            return columns == p.ends[:, None]
        answer = columns >= p.starts[:, None]
        chosen = torch.zeros_like(p.real)
        if "fired" in at:
            chosen |= p.tokens
        if at == "fired_on":
            chosen |= (p.tokens & answer).cumsum(1) > 0
        if "answer_on" in at:
            chosen |= answer
        return chosen & p.real

    def _editor(self, layer: int):
        unit = self.adapter.edits[str(layer)]

        def edit(_module, _args, output):
            if not self.active:
                return None
            hidden = output[0] if isinstance(output, tuple) else output
            openness = self._gate(layer, hidden)
            rows, columns = (self.where(hidden.shape[1]) & (openness > 0)[:, None]).nonzero(
                as_tuple=True
            )
            if not len(rows):
                return None  # not fired: the very tensor of the base
            h = hidden[rows, columns]
            added = openness[rows, None] * low_rank_update(unit, h)
            hidden = hidden.index_put((rows, columns), (h.to(added.dtype) + added).to(h.dtype))
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return edit
