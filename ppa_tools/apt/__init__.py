"""What apt would make of archives put together: its choices, its solver's verdicts, clashing files, closures."""
