"""pyvene's IntervenableModel, made to report the gates, and the configuration of a gated model."""

from collections.abc import Mapping

import pyvene
import torch
from pyvene import IntervenableConfig, RepresentationConfig, type_to_module_mapping
from torch import Tensor, nn

from .interventions import LoreftIntervention


class IntervenableModel(pyvene.IntervenableModel):
    """pyvene.IntervenableModel with `.gates` and `.locations`.

    Every call takes a position per example, and hooks that are not its own stay on the model.
    """

    def __init__(self, config, model, **options):
        self._handlers = []
        super().__init__(config, model, **options)

    @property
    def gates(self) -> Tensor | None:
        """Gate logits of the last forward, after generate those of its prefill; None without gates.

        [layers, B] float32 in depth order; [layers, B, positions] where several positions of an
        example are edited.
        """
        logits = [
            output.latent[0]
            for output in self.full_intervention_outputs
            if output.latent is not None
        ]
        return torch.stack(logits).squeeze(-1) if logits else None

    def locations(self, positions) -> dict:
        """Return the `unit_locations` that edit position positions[b] of example b in every layer.

        positions: B ints or a tensor [B].
        """
        rows = [[int(position)] for position in positions]
        return {"sources->base": (None, [rows] * len(self.interventions))}

    def generate(self, base, **options):
        """Run pyvene's generate, editing the prefill alone unless intervene_on_prompt is False."""
        self.full_intervention_outputs.clear()
        return super().generate(base, **{"intervene_on_prompt": True, **options})

    @staticmethod
    def load(*_, **__):
        raise NotImplementedError(
            "pyvene's folder does not name the gate: keep each intervention's state_dict()"
        )

    def train(self, mode: bool = True):
        """Switch the interventions (their dropout) with the model.

        pyvene leaves them in training mode.
        """
        self.interventions.train(mode)
        super().train(mode)
        return self

    def eval(self):
        return self.train(False)

    def _broadcast_unit_locations(self, batch_size, unit_locations):
        # pyvene leaves it on after one shared position: later calls would follow the first row
        self.use_fast = False
        return super()._broadcast_unit_locations(batch_size, unit_locations)

    def _intervention_getter(self, *args, **kwargs):
        return self._remember(super()._intervention_getter(*args, **kwargs))

    def _intervention_setter(self, *args, **kwargs):
        return self._remember(super()._intervention_setter(*args, **kwargs))

    def _remember(self, handlers):
        self._handlers.extend(handlers.handlers)
        return handlers

    def _remove_forward_hooks(self):
        """Take off our own hooks only.

        pyvene strips all, after which the model returns no hidden_states any more.
        """
        while self._handlers:
            self._handlers.pop().remove()


def build_intervenable_model(config, model, **options) -> IntervenableModel:
    """Build the model as pyvene's factory does, always with the native (hook) back end."""
    return IntervenableModel(config, model, **options)


def gated_config(model: nn.Module, edits: Mapping[int, LoreftIntervention]) -> IntervenableConfig:
    """Return the configuration that puts each edit on the output of decoder layer `layer`, from 0.

    One position of an example is edited. It serves any decoder: by pyvene's own name where it knows
    the model's class, else by the path of the list of decoder layers. Raises `ValueError` for no
    edits, and for a layer that `model` does not have.
    """
    depth = model.config.get_text_config().num_hidden_layers
    if not edits or not set(edits) <= set(range(depth)):
        raise ValueError(f"edits need layers between 0 and {depth - 1}, but have {sorted(edits)}")
    component = "block_output"
    if type(model) not in type_to_module_mapping:
        lists = [
            name
            for name, part in model.named_modules()
            if isinstance(part, nn.ModuleList) and len(part) == depth
        ]
        if not lists:
            raise ValueError(f"no list of {depth} decoder blocks in {type(model).__name__}")
        component = lists[0] + "[{}].output"
    return IntervenableConfig(
        [
            RepresentationConfig(layer, component.format(layer), "pos", 1, intervention=edit)
            for layer, edit in sorted(edits.items())
        ]
    )
