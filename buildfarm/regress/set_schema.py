"""The published JSON Schema of regression.yaml, for editors; made from the model, so that both are one."""

from __future__ import annotations

import json
from typing import Any

from buildfarm.recipe.rules import NAME_PATTERN
from buildfarm.recipe.schema import DIALECT, tidy
from buildfarm.regress.set_file import RegressionFile


def regression_schema() -> dict[str, Any]:
    """The schema of the file as it is written."""
    schema: dict[str, Any] = tidy(RegressionFile.model_json_schema())
    schema["title"] = "Build farm package sets"
    schema["properties"]["sets"]["propertyNames"] = {"pattern": f"^{NAME_PATTERN}$"}
    return {"$schema": DIALECT, **schema}


def schema_text() -> str:
    """The schema as it stands in docs/reference/regression.schema.json."""
    return json.dumps(regression_schema(), indent=2, ensure_ascii=False) + "\n"
