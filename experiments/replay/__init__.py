"""`fairlead replay`: judge target policies on a log, in parts that merge, on one machine or many.

log ─► targets ─► part (terms, tallies, moments per part) ─► run (merged) ─► result ─► view, report
"""
