"""A thin gate-aware fork of the installed pyvene: its public names, and GRUN's interventions.

import pyvene_custom as pv
edits = {layer: pv.GatedLoreftIntervention(base.config.hidden_size, 4) for layer in (4, 5, 6)}
model = pv.IntervenableModel(pv.gated_config(base, edits), base)
_, out = model({"input_ids": ids}, unit_locations=model.locations(prompt_lengths - 1))
out.logits, model.gates
"""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):  # pyvene advertises an optional back end
    import pyvene

from pyvene import *

from .models.gates import GATES, Gate
from .models.intervenable_base import IntervenableModel, build_intervenable_model, gated_config
from .models.interventions import GatedLoreftIntervention, LoreftIntervention, add_update
