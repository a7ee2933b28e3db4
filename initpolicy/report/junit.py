"""What was found as JUnit's XML, which the dashboards of test runs read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from initpolicy.report.findings import Case, Found

# Characters that XML 1.0 has no way to write.
_FOREIGN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(suite: str, cases: Sequence[Case]) -> str:
    """Each case a test: failed if it has errors, skipped if it could not be judged."""
    counts = {
        "tests": len(cases),
        "failures": sum(_fails(case) and not case.broken for case in cases),
        "errors": sum(_fails(case) and case.broken for case in cases),
        "skipped": sum(bool(case.skipped) and not _fails(case) for case in cases),
    }
    told = {name: str(number) for name, number in counts.items()}
    root = Element("testsuites", told)
    parent = SubElement(root, "testsuite", {"name": suite, **told})
    for case in cases:
        _add(parent, suite, case)
    indent(root)
    # In ASCII it is the same bytes whatever the encoding of a terminal or a pipe.
    return tostring(root, "us-ascii", xml_declaration=True).decode("ascii") + "\n"


def _fails(case: Case) -> bool:
    return any(one.severity == "error" for one in case.found)


def _add(parent: Element, suite: str, case: Case) -> None:
    at = {"classname": suite, "name": clean(case.name)}
    errors = [one for one in case.found if one.severity == "error"]
    place = next((one.location for one in (*errors, *case.found) if one.location), None)
    if place is not None:
        at["file"] = clean(place.file)
        if place.line:
            at["line"] = str(place.line)
    test = SubElement(parent, "testcase", at)
    if errors:
        what = "error" if case.broken else "failure"
        message = {"type": errors[0].code, "message": clean(errors[0].text)}
        SubElement(test, what, message).text = clean("\n".join(map(_told, errors)))
    elif case.skipped:
        SubElement(test, "skipped", {"message": clean(case.skipped)})
    warnings = [one for one in case.found if one.severity == "warning"]
    if warnings:
        SubElement(test, "system-out").text = clean("\n".join(map(_told, warnings)))


def _told(found: Found) -> str:
    place = f"{found.location}: " if found.location else ""
    return f"{place}{found.code} {found.text}"


def clean(text: str) -> str:
    r"""Text with what XML cannot hold written out.

    >>> clean("a\x1b[31m")
    'a\\x1b[31m'
    """
    return _FOREIGN.sub(lambda found: ascii(found[0])[1:-1], text)
