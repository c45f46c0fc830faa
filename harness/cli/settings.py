"""The command settings: every recipe key, for people and for editors."""

import json
from typing import Annotated, Any

import typer

from harness.cli import show

# What JSON schema calls a type, as people do.
TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "array": "list",
         "object": "table", "null": ""}  # fmt: skip


def settings(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes, for an editor.")] = False,
) -> None:
    """List every recipe key: what it is, its type and its default. --set KEY=VALUE sets any of them.

    A recipe has values of its own: harness plan --model NAME --before-after --details shows those in force.
    """
    from harness.config import Configuration

    described = Configuration.model_json_schema()
    if schema:
        print(json.dumps(described, indent=2))
        return
    show.table(
        ("key", "what it is"),
        [
            (key, f"{each['description']} ({type_of(each)}; {default_of(each)})")
            for key, each in described["properties"].items()
        ],
    )


def type_of(described: dict[str, Any]) -> str:
    """A key's type, or its allowed values, of its entry in the JSON schema."""
    if "anyOf" in described:
        return " or ".join(filter(None, map(type_of, described["anyOf"])))
    allowed = described.get("enum", [described["const"]] if "const" in described else [])
    return ", ".join(allowed) or TYPES[described["type"]]


def default_of(described: dict[str, Any]) -> str:
    """A key's default as a recipe writes it, of its entry in the JSON schema."""
    if "default" not in described:
        return "empty unless given" if described.get("type") == "object" else "required"
    default = described["default"]
    return "not set" if default is None else f"default {json.dumps(default)}"
