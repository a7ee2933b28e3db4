"""What docs/calibration.md shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from initpolicy.calibration import Calibration

DOCUMENT = Path(__file__).parents[2] / "docs" / "calibration.md"


def test_the_examples_of_the_document_run_and_print_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text(encoding="utf-8")
    (policy,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    Path("policy.toml").write_text(policy, encoding="utf-8")
    names: dict[str, Any] = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    (told,) = re.findall(r"# (0: .*), \.\.\.", text)
    assert capsys.readouterr().out.startswith(told + "\n")
    step = Calibration.of(names["centre"])
    assert [(one.name, one.default) for one in step.parameters] == [("to", 0.0)]
