"""Recipes: the model, loading with file:line:column errors, templates, Launchpad recipe text."""
