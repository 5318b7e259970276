"""Pure functions from model, cluster and workload to a DeploymentPlan."""
