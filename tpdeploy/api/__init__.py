"""The Python interface: what `import tpdeploy` offers."""
