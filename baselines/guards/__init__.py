"""Guards: they refuse questions in front of a language model and change none of its weights.

Every file of this folder holds one guard and is loaded with the package.
"""
