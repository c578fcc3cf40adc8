"""What the broker serves over HTTP: the sandbox's checkout pages and the notice addresses of payment gateways."""
