"""A report as one page of HTML, and what notebooks show."""

from initpolicy.report.page.content import Report
from initpolicy.report.page.document import document
from initpolicy.report.page.notebook import html

__all__ = ["Report", "document", "html"]
