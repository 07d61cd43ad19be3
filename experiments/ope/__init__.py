"""Off-policy evaluation: what a target policy would have earned on a log that another policy wrote.

The path of the data: `decisions` (checked columns) → `importance`, `doubly_robust`, `rejection` (estimators:
decisions to *terms*) → `moments` and `bootstrap` (sums over decisions that partitions merge) → `estimates`,
`bounds`, `sequences` (values, differences and intervals) → `diagnostics` → `verdict`. docs/estimators.md has
every formula.
"""
