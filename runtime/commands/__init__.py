"""One module a subcommand, and the flags they share."""
