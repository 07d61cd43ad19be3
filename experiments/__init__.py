"""The evidence: what a policy would have earned, by simulation and from logs, and how sure that is.

- `tables`: the outcome of every provider for every prompt, read and priced.
- `simulation`: tables as traffic, played by the router and its peers; `fairlead simulate`.
- `logs`: files of any kind as checked batches of logged decisions.
- `targets`: the policies to be evaluated on a log.
- `ope`: off-policy evaluation, a library of its own: estimators, intervals, diagnostics, verdict.
- `replay`: a log, its targets and `ope` put together, part by part; `fairlead replay`.
- `report`, `charts`: the results as a page and as pictures.
- `baselines`: the best fixed mix, the oracle and the supervised reference.
- `benchmarks`: the published figures; not part of the installed package.
"""
