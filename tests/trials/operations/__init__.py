"""Trials of the decisions: what goes wrong in ordinary operation, played many times, against stated bounds.

Each file but those of the simulated world is one trial: a function ``run(seeds, progress)`` that returns a
`Result`. `python -m tests.trials operations NAME` runs it.

    world (providers, requests) + arrivals (when) ─► play (a router) ─► Played ─► figures ─► Result
"""
