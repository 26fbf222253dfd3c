"""The subcommands of ``buildfarm``, one module each: ``configure(parser)`` and ``run(args) -> exit status``."""
