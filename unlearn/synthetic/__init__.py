"""Generators of the embedded benchmarks; prompt forms for training and for attacks."""
