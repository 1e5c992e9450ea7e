"""Flags, option groups, recipes, experiments and run directories."""
