"""Grids of commands: what the scripts cmd_*.sh run, planned and run by one process.

Imports the standard library alone, so that a start with nothing to do takes a moment.
"""
