"""What runs a whole deployment by itself: replicas, router, and their supervision."""
