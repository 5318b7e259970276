"""Every split of the devices, and which is best."""
