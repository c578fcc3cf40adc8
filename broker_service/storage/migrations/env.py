"""What Alembic runs to run the migrations: in the transaction of the connection that `schema.upgrade` hands over."""

from alembic import context

# Alembic begins and commits nothing where a transaction is under way, so either all steps are done or none is.
context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
