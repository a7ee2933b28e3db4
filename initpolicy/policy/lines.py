"""On which line of a TOML file each key stands.

The parser of the standard library forgets lines, and an error without one is half an error.
"""

from __future__ import annotations

import re
from collections import Counter

Path = tuple[str | int, ...]

_STRING = r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
_TOKEN = re.compile(rf"(?s:{_STRING})|#[^\n]*|\n|[\[\]{{}}=]|[^\s\[\]{{}}=#\"']+|[^\S\n]+|.")
_KEY_PART = re.compile(r'\s*("(?:\\.|[^"\\])*"|\'[^\']*\'|[A-Za-z0-9_-]+)\s*(?:\.|$)')


def line_numbers(text: str) -> dict[Path, int]:
    r"""Map the path of each table and key of a valid TOML text to its line, counted from 1.

    Elements of arrays of tables are counted from 0, as in what `tomllib` returns. Keys within
    inline tables have no lines of their own.

    >>> line_numbers('format = 1\n\n[[rule]]\ninit.weight = 0\n')
    {('format',): 1, ('rule', 0): 3, ('rule', 0, 'init'): 4, ('rule', 0, 'init', 'weight'): 4}
    """
    found: dict[Path, int] = {}
    arrays: Counter[Path] = Counter()
    table: Path = ()
    statement = ""  # the text of the statement so far, if it is a header or still a key
    depth = 0  # of brackets, within a value
    in_value = False
    line = start = 1

    def record(path: Path, since: int) -> None:
        for end in range(since + 1, len(path) + 1):
            found.setdefault(path[:end], start)

    for match in _TOKEN.finditer(text + "\n"):
        token = match.group()
        if token == "\n" and depth == 0:
            header = statement.strip()
            if header.startswith("[["):
                outer = _resolve(_parts(header[2:-2]), arrays)
                table = (*outer, arrays[outer])
                arrays[outer] += 1
                record(table, len(outer))
            elif header.startswith("["):
                table = _resolve(_parts(header[1:-1]), arrays)
                record(table, 0)
            statement, in_value = "", False
        elif token.startswith("#"):
            pass
        elif in_value:
            depth += (token in "[{") - (token in "]}")
        elif token == "=":
            record((*table, *_parts(statement)), len(table))
            in_value = True
        else:
            if not statement:
                start = line
            statement += token.lstrip() if not statement else token
        line += token.count("\n")
    return found


def _parts(key: str) -> Path:
    parts: list[str] = []
    position = 0
    while position < len(key.rstrip()):
        match = _KEY_PART.match(key, position)
        if match is None:
            break
        quoted = match.group(1)
        parts.append(quoted[1:-1] if quoted[0] in "\"'" else quoted)
        position = match.end()
    return tuple(parts)


def _resolve(path: Path, arrays: Counter[Path]) -> Path:
    """Put into `path` the numbers of the array elements that it passes through."""
    resolved: Path = ()
    for index, part in enumerate(path):
        resolved = (*resolved, part)
        if arrays[resolved] and index + 1 < len(path):
            resolved = (*resolved, arrays[resolved] - 1)
    return resolved


def nearest_line(lines: dict[Path, int], path: Path) -> int:
    """The line of `path`, or of the innermost table around it that has one; 0 if none has."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)
