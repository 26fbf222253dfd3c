"""Carrying plans out: asked once, journalled, looked for until all is there, taken up where they were cut."""
