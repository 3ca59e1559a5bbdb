"""One module a subcommand of `mask`, and the flags they share."""
