"""The WADL that the double serves: the one launchpadlib brings (API 1.0), with what ``devel`` has besides."""

from __future__ import annotations

import functools
import re
from importlib.util import find_spec
from pathlib import Path

BUNDLED_ROOT = "https://api.launchpad.test/1.0"

COPY = (
    "from_archive*",
    "to_pocket*",
    "to_series",
    "from_series",
    "include_binaries",
    "sponsored",
    "unembargo",
    "auto_approve",
    "silent",
    "move",
)
DEVEL_OPERATIONS = (
    ("archive", "copyPackage", "POST", ("source_name*", "version*", *COPY, "from_pocket"), ""),
    ("archive", "copyPackages", "POST", ("source_names*", *COPY), ""),
    ("archives", "getByReference", "GET", ("reference*",), "archive-full"),
    ("source_package_publishing_history", "hasRestrictedFiles", "GET", (), ""),
    ("binary_package_publishing_history", "binaryFileUrls", "GET", ("include_meta",), ""),
)
"""Resource type, operation, method, parameters (``*``: needed), representation that it gives."""

DEVEL_FIELDS = {"archive": ("publish", "status", "publishing_method", "repository_format")}
REFERENCES = {"from_archive": "archive", "sponsored": "person"}


@functools.cache
def wadl(base: str, version: str) -> bytes:
    """The description of the service at ``base`` (the root with the version)."""
    text = _bundled()
    if version == "devel":
        for kind, name, method, parameters, gives in DEVEL_OPERATIONS:
            text = _add_operation(text, kind, _operation(kind, name, method, parameters, gives))
        for kind, fields in DEVEL_FIELDS.items():
            text = _add_fields(text, kind, fields)
        text = _add_size_links(text)
    return text.replace(BUNDLED_ROOT, base).encode()


@functools.cache
def _bundled() -> str:
    spec = find_spec("launchpadlib")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("launchpadlib is not installed: its WADL is what the double serves")
    return (Path(spec.submodule_search_locations[0]) / "testing" / "launchpad-wadl.xml").read_text()


def _operation(kind: str, name: str, method: str, parameters: tuple[str, ...], gives: str) -> str:
    rows = [f'<wadl:param style="query" name="ws.op" required="true" fixed="{name}"/>']
    for one in parameters:
        bare, needed = one.rstrip("*"), "true" if one.endswith("*") else "false"
        link = REFERENCES.get(bare)
        inner = f'<wadl:link resource_type="{BUNDLED_ROOT}/#{link}"/>' if link else ""
        rows.append(f'<wadl:param style="query" name="{bare}" required="{needed}">{inner}</wadl:param>')
    asked = "\n".join(rows)
    if method == "POST":
        form = "application/x-www-form-urlencoded"
        asked = f'<wadl:representation mediaType="{form}">{asked}</wadl:representation>'
    given = f'<wadl:representation href="{BUNDLED_ROOT}/#{gives}"/>' if gives else ""
    response = f"<wadl:response>{given}</wadl:response>" if gives else ""
    return (
        f'<wadl:method id="{kind}-{name}" name="{method}"><wadl:request>{asked}</wadl:request>{response}'
        "</wadl:method>\n"
    )


def _add_operation(text: str, kind: str, operation: str) -> str:
    begin = text.index(f'<wadl:resource_type id="{kind}">')
    end = text.index("</wadl:resource_type>", begin)
    return text[:end] + operation + text[end:]


def _add_fields(text: str, kind: str, fields: tuple[str, ...]) -> str:
    begin = text.index(f'id="{kind}-full"')
    end = text.index("</wadl:representation>", begin)
    rows = "".join(
        f"""<wadl:param style="plain" required="true" name="{one}" path="$['{one}']"/>\n""" for one in fields
    )
    return text[:end] + rows + text[end:]


def _add_size_links(text: str) -> str:
    """Batches of ``devel`` may link to their total size."""
    size = """<wadl:param style="plain" name="total_size" path="$['total_size']" required="true"/>"""
    both = (
        """<wadl:param style="plain" name="total_size" path="$['total_size']" required="false"/>"""
        """<wadl:param style="plain" name="total_size_link" path="$['total_size_link']" required="false">"""
        """<wadl:link resource_type="#ScalarValue"/></wadl:param>"""
    )
    return re.sub(re.escape(size), lambda _: both, text)
