"""Everything that the service imports and compiles, for the process that servers are forked from."""

import fairlead.api.cli.serve  # noqa: F401  imported for its effect: forked servers have it loaded
from fairlead.api.state.runtime import warm_up

warm_up()
