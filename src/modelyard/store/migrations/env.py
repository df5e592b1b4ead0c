"""What alembic runs: the migrations, inside the transaction that the caller began."""

from alembic import context

from modelyard.store import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,  # names constraints as the tables do
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
