"""Write docs/zoo.md from what the last run of the zoo's tests found.

    pytest -m '' tests/zoo && python tests/zoo/table.py

With globs, the architectures of those names are compared at once, and nothing is written.
"""

from __future__ import annotations

import json
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from catalogue import CATALOGUE, NOTES  # noqa: E402
from harness import MOST_COMPARISONS, Architecture, compare  # noqa: E402

import initpolicy  # noqa: E402

HEAD = """# The zoo

Architectures of other libraries, each with a policy that begins it as its library does. Written by
`make zoo`, which builds every model several times with the library's own constructor, fills as
many with the policy, and compares each parameter and each buffer: fixed values for equality,
random ones by two-sample tests of distribution, mean and scale, bounds and structure by what the
law says for certain. [tests/zoo](../tests/zoo) has the tests and the configurations, which are
small where widths do not change the laws.

- *equal*: tensors without chance, equal in every bit; after `~`, those equal but for rounding.
- *same law*: random tensors whose values the tests cannot tell from the library's.
- *kept*: index tables and the like that the constructor computes and the policy leaves alone.
- *unset*: tensors that the library itself leaves at `torch.empty`, or fills otherwise than it
  says; the remark tells which, and what was measured. The policy fills them.

"""


def main(globs: list[str]) -> None:
    if globs:
        try_out(globs)
        return
    lines = [HEAD]
    comparisons = values = count = 0
    for library, architectures in CATALOGUE.items():
        note = f"{NOTES[library]}\n" if library in NOTES else ""
        lines.append(f"## {library}\n\n{note}" + row(*COLUMNS) + row(*(["---"] * len(COLUMNS))))
        for architecture in architectures:
            found = result(library, architecture)
            lines[-1] += row(*cells(found))
            comparisons += found["comparisons"]
            values += found["values"]
            count += 1
        lines[-1] += "\n"
    if comparisons > MOST_COMPARISONS:
        raise SystemExit(f"{comparisons} comparisons are more than the joint rate allows for")
    lines[0] += (
        f"{count} architectures, {values / 1e6:.0f} million random values, {comparisons:,} "
        "comparisons. Each\nalarms at p < 1e-12, so that one false alarm among all has a chance "
        "below 1e-6.\n\n"
    )
    (ROOT / "docs" / "zoo.md").write_text("".join(lines).rstrip() + "\n", encoding="utf-8")


COLUMNS = ("architecture", "policy", "tensors", "agreement", "remarks")


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    link = f"[{found['policy']}](policies.md#{found['policy'].replace('/', '')})"
    equal = str(found["equal"]) + (f" ~ {found['rounded']}" if found["rounded"] else "")
    agreement = [f"{equal} equal", f"{found['random']} same law"]
    agreement += [f"{found[kind]} {kind}" for kind in ("kept", "unset") if found[kind]]
    remarks = [found["remark"]] if found["remark"] else []
    if count := found["outliers"]:
        remarks.append(f"{count} of the library's values lie at a bound, far out: left aside")
    tensors = str(found["tensors"])
    return found["name"], link, tensors, ", ".join(agreement), "; ".join(remarks)


def row(*texts: str) -> str:
    return "| " + " | ".join(texts) + " |\n"


def result(library: str, architecture: Architecture) -> dict[str, Any]:
    file = ROOT / ".pytest_cache" / "v" / "zoo" / library / architecture.name
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if found is None:
        raise SystemExit(f"{library} {architecture.name} did not pass: run its test first")
    return found


def try_out(globs: list[str]) -> None:
    for library, architectures in CATALOGUE.items():
        for architecture in architectures:
            if not any(fnmatchcase(f"{library}/{architecture.name}", glob) for glob in globs):
                continue
            start = time.process_time()
            try:
                found = compare(architecture)
            except initpolicy.InitPolicyError as error:
                print(f"{library}/{architecture.name}: {error}", flush=True)
                continue
            spent = time.process_time() - start
            print(f"{library}/{architecture.name}: {spent:.1f} s", found, flush=True)
            for failure in found.failures:
                print("  FAIL", failure)


if __name__ == "__main__":
    main(sys.argv[1:])
