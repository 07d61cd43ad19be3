"""`fairlead replay`: evaluate target policies on a log, in parts that merge, on one machine or many.

run: log ─► targets ─► partition (sums per part) ─► partial_results (merged) ─► summary ─► result
result ─► terminal, export (JSON, CSV), experiments/report
"""
