"""Recipes: the model, loading with file:line:column errors, templates, Launchpad recipe text."""

from buildfarm.recipe.host import load_farm_recipes
from buildfarm.recipe.jobs import branch_of, job_for
from buildfarm.recipe.loading import RecipeBook, load_recipes
from buildfarm.recipe.model import Origin, Recipe
from buildfarm.recipe.problem import Problem

__all__ = [
    "Origin",
    "Problem",
    "Recipe",
    "RecipeBook",
    "branch_of",
    "job_for",
    "load_farm_recipes",
    "load_recipes",
]
