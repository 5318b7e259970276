"""Recurrent mixers: one file per kind, with its tensors, its state and its cost."""
