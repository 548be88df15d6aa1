"""The subcommands of `veil`, one module each: `add_arguments(parser)` and `run(arguments) -> exit code`."""
