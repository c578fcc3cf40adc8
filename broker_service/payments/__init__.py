"""Payment gateways: how customers' money reaches the broker."""
