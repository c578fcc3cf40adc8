"""The rules of the ledger: pure functions of state, command and time.

Nothing here reads a clock, draws randomness, or knows of databases and networks. The words are those of
docs/ledger.md.
"""
