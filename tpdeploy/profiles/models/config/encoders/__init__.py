"""Encoders of images and sound, whose output a text model reads."""
