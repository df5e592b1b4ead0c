"""`python -m modelyard` is the command line."""

from modelyard.cli.app import main

main()
