"""Files: event logs, snapshots, archives of arrays, and writing any of them completely or not at all."""
