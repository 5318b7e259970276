"""Families: what each architecture implies that its config.json does not say."""
