"""Objectives, their loss, samplers and the training loop."""
