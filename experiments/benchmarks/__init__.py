"""The numbers that Fairlead is measured by: `python -m experiments.benchmarks`, explained in docs/benchmarks.md."""
