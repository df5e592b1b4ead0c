"""Programs for environments of unmodified client libraries: `PROGRAM HOST:PORT` prints what checks came to."""
