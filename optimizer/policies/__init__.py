"""Policies: from predictions of utility to a probability per provider, one file each.

To add one, write its file, name it in `presets`, and list it in `tests/contracts/check_policy.py`.
"""
