"""Reading a config.json."""
