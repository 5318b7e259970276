"""Traces: files of recorded requests, read in the formats that others write."""
