"""All splits of the devices, and the best one."""
