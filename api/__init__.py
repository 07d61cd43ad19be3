"""The service and the command line, around the algorithm of `optimizer` and the evidence of `experiments`.

- `cli`: the commands; `fairlead --help` lists them.
- `http`: the server, and the checks in front of every request: overload, key, rate, body.
- `endpoints`: one thin file per subject, with bodies and answers from `schemas`.
- `service`: the use cases, which know no HTTP: decide, report, change the configuration.
- `state`: the learned state, as a fold of the log.
- `store`: the log of events, on SQLite or PostgreSQL.

Each folder imports only those below it in this list; `make check` enforces this.
"""
