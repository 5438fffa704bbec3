"""The nouns.

Imports numpy, pyarrow and jaxtyping only; everything else in clickprint stands on it.
"""
