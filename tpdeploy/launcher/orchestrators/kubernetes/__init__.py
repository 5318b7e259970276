"""Deployments as objects of Kubernetes: plain YAML, handed over and observed with kubectl."""
