"""A breezy plugin, installed by ``buildfarm hook install``."""
