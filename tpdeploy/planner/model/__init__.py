"""A model's tensors, how ranks share them, and its KV cache."""
