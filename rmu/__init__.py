"""RMU and Adaptive RMU: a few matrices learn to map texts to forget to a random vector.

The hidden states of all other texts are held where they were.
"""
