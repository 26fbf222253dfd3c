"""The published JSON Schema of a recipe file, for editors; made from the model, so that the two cannot differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from buildfarm.recipe.loading import AXES
from buildfarm.recipe.model import RecipeFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """The schema of a file as it is written.

    It requires no key: a template may give each of them, which only ``buildfarm check`` can see.
    """
    schema: dict[str, Any] = tidy(RecipeFile.model_json_schema())
    schema["title"] = "Build farm recipe"
    axes = {"anyOf": [{"enum": sorted(AXES)}, {"pattern": r"^unittest\.environment\."}]}
    schema["properties"]["matrix"]["propertyNames"] = axes
    schema["properties"]["exclude"]["items"]["propertyNames"] = axes
    return {"$schema": DIALECT, **schema}


def schema_text() -> str:
    """The schema as it stands in docs/reference/recipe.schema.json."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def tidy(schema: Any, *, names: bool = False) -> Any:
    """Without pydantic's titles and ``required``, descriptions on one line; ``names``: the keys are the user's."""
    if isinstance(schema, list):
        return [tidy(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    clean = {
        key: tidy(value, names=key in ("properties", "$defs"))
        for key, value in schema.items()
        if names or key not in ("title", "required")
    }
    if isinstance(clean.get("description"), str):
        clean["description"] = " ".join(clean["description"].split())
    return clean
