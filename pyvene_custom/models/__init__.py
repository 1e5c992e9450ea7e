"""Where this fork differs from pyvene.

interventions.py has the edit, gates.py its gate, upstream_names.py the state dict in the authors'
names, intervenable_base.py the model that reports its gates.
"""
