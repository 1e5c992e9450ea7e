"""How an adapter is run in training: pyvene's path, hooks, and the cached engine."""
