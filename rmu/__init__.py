"""RMU and Adaptive RMU: a few matrices learn to send what is to be forgotten to a random vector,
and leave the rest where it was."""
