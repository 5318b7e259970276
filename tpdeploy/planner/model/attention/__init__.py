"""Attention: a kind a file, which answers for its tensors, its KV and its cost."""
