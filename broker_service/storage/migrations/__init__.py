"""The steps from each schema to the next, run by Alembic.

A step is a module in `versions`. It spells out what it does instead of asking `tables`, which goes on changing after
the step has been released. A released step is never edited: another one follows it.
"""
