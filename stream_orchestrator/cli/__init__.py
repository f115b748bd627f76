"""The command line: `commands/` has one file per command, imported only when it runs; the rest is what they share."""
