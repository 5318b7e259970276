"""What is wrong with this machine, or in the way of a plan on it: a file for each kind of check."""
