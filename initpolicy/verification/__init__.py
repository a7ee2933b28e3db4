"""Whether values are what a policy says: bit for bit, or by law whoever drew them."""

from initpolicy.verification.sources import Source
from initpolicy.verification.verdict import Finding, Judged, Verdict
from initpolicy.verification.verify import verify

__all__ = ["Finding", "Judged", "Source", "Verdict", "verify"]
