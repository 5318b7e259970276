"""Sending requests and timing the answers."""
