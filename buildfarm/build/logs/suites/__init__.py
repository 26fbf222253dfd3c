"""Test suites whose output in a log is understood: one module a kind, all named in ``registry``."""
