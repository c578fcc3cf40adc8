"""The broker: packs, payments, credit accounts and their ledger, as a gRPC server."""
