"""The machine this runs on."""
