"""How data shows itself: in a notebook as HTML, and as a figure.

Plans, verdicts and probes are data, and `report` is the only room that renders. It stands above
them and imports them, so that they cannot import it. What they hold in place of an import is a
name, which is looked up when somebody asks to see them: an import statement here would turn the
order of the rooms round, and make all of rendering a part of every plan.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PAGE = "initpolicy.report.page"
_PLOTS = "initpolicy.report.plots"


class Shown:
    """Data that has a picture of itself."""

    def _repr_html_(self) -> str:
        """The data as a table of bounded size, which notebooks show."""
        return import_module(_PAGE).html(self)

    def plot(self, **options: Any) -> Any:
        """Draw the data; gives matplotlib's `Figure`, and needs `pip install initpolicy[plot]`."""
        return import_module(_PLOTS).plot(self, **options)
