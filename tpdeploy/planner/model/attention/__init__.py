"""Attention: one file per kind, with its tensors, its KV cache and its cost."""
