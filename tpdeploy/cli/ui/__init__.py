"""The planner as a web page on this machine: a form, the answer, and the command to copy."""
