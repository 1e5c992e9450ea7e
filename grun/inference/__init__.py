"""Adapters on a plain model: which tokens are edited, and the hooks that edit them."""
