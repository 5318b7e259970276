"""Engines behind one interface: what each can run, and the commands that start it."""
