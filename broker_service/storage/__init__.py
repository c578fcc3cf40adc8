"""Everything that speaks SQL: the tables, the ledger's rows, and the directory of parties and goods."""
