"""From predictions to the logged distribution and the draw.

`eligibility` applies the rules, `shadow_price` and `pacer` the budget, `exploration` the floors and quotas;
`selector` puts them around a policy, and draws.
"""
