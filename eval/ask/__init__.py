"""Ask a run: `python -m grun.ask RUN`.

command     the flags, and the two ways to ask: one question, or a session
session     one line of a session -> what it prints
attacks     the attacks of a session: the last question in other forms
asked_run   a run and its base model
questions   the questions of a run's own data
display     answers and gates as lines of text
"""
