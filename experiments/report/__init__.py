"""The report of a replay: one HTML file that opens offline, with a table behind every chart."""

from fairlead.optimizer.errors import require

require("altair", purpose="a report")
require("vl_convert", purpose="a report")
