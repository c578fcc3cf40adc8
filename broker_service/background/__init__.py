"""What the broker does by itself, beside the calls it serves."""
