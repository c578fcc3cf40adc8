"""The `iap` command: what a customer does, from the catalogue to the statement; a provider; and an operator."""
