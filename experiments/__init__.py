"""The evidence: data sets, simulation, replay and reports that show what a policy would have earned."""
