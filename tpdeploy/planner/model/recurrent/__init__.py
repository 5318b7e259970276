"""Recurrent mixers: a kind a file, which answers for its tensors, its state and its cost."""
