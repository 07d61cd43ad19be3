"""Everything that the service imports and compiles, for the process that servers are forked from."""

import api.app
import api.commands.serving
import api.store.postgres
import api.store.sqlite
from api.engine.warming import warm_up

__all__ = ["api"]

warm_up()
