"""Files: event logs, snapshots of a router, archives of arrays, and writing any of them whole or not at all."""
