"""What is said when a step cannot be found, or cannot be carried out."""

from __future__ import annotations

from initpolicy.problems import InitPolicyError, Problem


class CalibrationError(InitPolicyError):
    """A step that there is not, or one that cannot be carried out on this model and this data.

    `message` says what is wrong, `hint` what to do instead, and `code` names the page. Whatever
    the step had changed has its old values again.

    >>> error = CalibrationError("fc: its output is constant", hint="draw its weight", code="IP774")
    >>> print(error)
    IP774 fc: its output is constant; draw its weight
    """

    def __init__(self, message: str, *, hint: str = "", code: str) -> None:
        super().__init__(Problem(code, message, hint))
        self.message = message
        self.hint = hint
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _made, (self.message, self.hint, self.code)


def _made(message: str, hint: str, code: str) -> CalibrationError:
    return CalibrationError(message, hint=hint, code=code)
