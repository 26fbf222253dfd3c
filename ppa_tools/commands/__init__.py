"""The commands that people give: ``ppa-copy``, ``ppa-list`` and the others, each alone and as ``ppa COMMAND``."""
