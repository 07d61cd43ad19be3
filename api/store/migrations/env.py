"""Entry point of Alembic: runs the migrations on the connection that `fairlead.api.store.schema` opened."""

from alembic import context
from sqlmodel import SQLModel

import fairlead.api.store.tables  # noqa: F401 (its tables are the metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
