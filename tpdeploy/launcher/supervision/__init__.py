"""The process that keeps a deployment alive: `python -m tpdeploy.launcher.supervision NAME`."""
