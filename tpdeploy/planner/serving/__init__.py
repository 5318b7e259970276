"""Latency and throughput of a replica under load."""
