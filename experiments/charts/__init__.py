"""Charts for the terminal, the report and the documentation."""

from fairlead.optimizer.errors import require

require("altair", purpose="a chart")
require("vl_convert", purpose="a chart")
