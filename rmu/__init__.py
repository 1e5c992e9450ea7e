"""RMU and Adaptive RMU: a few matrices learn to map texts to forget to a random vector.

The hidden states of all other texts are held where they were.
"""

from unlearn.processes import stop_quietly

stop_quietly()
