"""The time that one step of an engine takes."""
