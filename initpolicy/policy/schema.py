"""The JSON Schema of policies, for editors: made of what the parser itself goes by."""

from __future__ import annotations

from typing import Any, cast

from initpolicy import calibration, initializers
from initpolicy.calibration import Calibration
from initpolicy.initializers import Initializer
from initpolicy.policy.document import Document
from initpolicy.policy.names import COMMON_ARGUMENTS, RESERVED

Schema = dict[str, Any]

ID = "urn:initpolicy:policy:1"


def schema() -> Schema:
    """Give the JSON Schema (draft 2020-12) of a policy of format 1.

    It covers all but the inside of texts: globs, expressions, and names of other policies. The
    initializers are those that are installed.

    >>> schema()["properties"]["format"]
    {'const': 1, 'description': 'the version of the language'}
    """
    document = cast("Schema", _plain(Document.model_json_schema()))
    definitions: Schema = document.pop("$defs")
    rule: Schema = definitions["RuleTable"]
    # Names of parameters are data: an editor has nothing to complete, and everything to check.
    value: Schema = {"$ref": "#/$defs/Value"}
    rule["properties"]["init"]["additionalProperties"] = value
    recompute: Schema = {"$ref": "#/$defs/RecomputeTable"}
    rule["properties"]["buffer"]["additionalProperties"] = {"anyOf": [value, recompute]}
    rule["anyOf"] = [
        {"required": [key], "properties": {key: {"minProperties": 1}}} for key in ("init", "buffer")
    ]
    variables: Schema = document["properties"]["vars"]
    ((pattern, variable),) = variables.pop("patternProperties").items()
    variables["additionalProperties"] = variable
    variables["propertyNames"] = {"pattern": pattern, "not": {"enum": sorted(RESERVED)}}
    known = [initializers.get(name) for name in initializers.names()]
    definitions["Part"] = _part(known)
    definitions["ChunksTable"]["properties"]["chunks"]["items"] = {
        "allOf": [
            {"$ref": "#/$defs/Part"},
            {"if": {"type": "object"}, "then": {"not": {"required": ["stream"]}}},
        ]
    }
    definitions["Value"] = {
        "anyOf": [{"$ref": "#/$defs/Part"}, {"$ref": "#/$defs/ChunksTable"}],
    }
    del definitions["InitializerTable"]
    common: Schema = definitions["CalibrateTable"]["properties"]
    definitions["CalibrateTable"] = {
        "description": "a step that needs data, after the draws",
        "anyOf": [_step(calibration.get(name), common) for name in calibration.names()],
    }
    definitions |= {_definition(initializer): _table(initializer) for initializer in known}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        **document,
        "title": "initpolicy policy",
        "description": "How the weights of a PyTorch model begin.",
        "$defs": definitions,
    }


def _plain(node: object, *, names: bool = False) -> object:
    """Leave out what says nothing in TOML: null, and titles that repeat the key.

    `names` tells that the keys of `node` are names of properties and no keywords.
    """
    if isinstance(node, list):
        return [_plain(item) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    table = cast("Schema", node)
    if not names:
        table = {
            key: value
            for key, value in table.items()
            if key != "title" and not (key == "default" and value is None)
        }
        options = [item for item in table.get("anyOf", []) if item != {"type": "null"}]
        if len(options) == 1:
            del table["anyOf"]
            table = {**options[0], **table}
        if "const" in table or "enum" in table:
            table.pop("type", None)
    inner = {"properties", "$defs", "patternProperties"}
    return {key: _plain(value, names=key in inner and not names) for key, value in table.items()}


def _part(known: list[Initializer]) -> Schema:
    alone = [item.name for item in known if not any(p.required for p in item.parameters)]
    return {
        "description": "what a tensor begins with",
        "anyOf": [
            {"type": "number", "description": "every element is this number"},
            {"enum": ["keep", *alone], "description": "an initializer alone, or keep"},
            *({"$ref": f"#/$defs/{_definition(initializer)}"} for initializer in known),
        ],
    }


def _step(step: Calibration, common: Schema) -> Schema:
    """The table of one calibration: its arguments, which are plain values, and the selectors."""
    properties = {**common, "fn": {"const": step.name}}
    required = ["fn"]
    for parameter in step.parameters:
        schema = parameter.json_schema()
        if parameter.is_number:
            schema["type"] = "integer" if parameter.type is int else "number"
        if parameter.name in step.limits:
            schema |= step.limits[parameter.name].schema
        properties[parameter.name] = schema
        required += [parameter.name] if parameter.required else []
    return {
        "type": "object",
        "description": step.summary,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _definition(initializer: Initializer) -> str:
    return f"fn.{initializer.name}"


def _table(initializer: Initializer) -> Schema:
    """The table of one initializer, with the arguments that all of them take."""
    table = cast("Schema", initializer.json_schema())
    for name, argument in COMMON_ARGUMENTS.items():
        table["properties"].setdefault(
            name,
            {
                "type": ["number", "string"] if argument.is_number else "string",
                "description": argument.description,
                **({"pattern": argument.pattern} if argument.pattern else {}),
            },
        )
    return table
