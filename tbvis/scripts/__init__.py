"""The command-line programs, one file a verb."""
