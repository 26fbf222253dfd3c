"""Archives, each behind one interface: the embedded one, and Launchpad."""
