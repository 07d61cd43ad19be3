"""The routing algorithm: learns which provider to choose for each request, and how sure it is.

`types` → `features` → `models` → `policies` → `selection` lead from a request to the logged distribution;
each imports only those before it. `learning` turns events into statistics, `persistence` writes files. The
public names are those of `fairlead`, which describes them by group.
"""
