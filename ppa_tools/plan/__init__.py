"""Plans: what takes an archive from what it holds to what is wanted. Pure: nothing here asks or changes one."""
