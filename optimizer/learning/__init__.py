"""From events to statistics: what a decision, an outcome or feedback changes.

An event that comes before its decision waits in `pending`. The `ledger` keeps what is in force for each open
decision, and scales feedback to a reward. The `learner` adds that reward to the sums of `models.statistics`,
or takes an earlier one out of them.
"""
