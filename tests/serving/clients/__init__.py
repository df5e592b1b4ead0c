"""Programs for environments of unmodified clients: `PROGRAM HOST:PORT` prints what checks came to."""
