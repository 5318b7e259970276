"""What a model holds: tensors, how ranks share them, and its KV cache."""
