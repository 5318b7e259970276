"""Ray Serve LLM: `--on ray`. Its clusters are spoken to by the REST interface of the dashboard."""
