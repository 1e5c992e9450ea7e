"""Where this fork differs from pyvene: interventions.py (the edit) and intervenable_base.py (the
gates)."""
