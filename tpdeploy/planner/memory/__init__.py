"""What a rank needs of memory, and the limits that follow."""
