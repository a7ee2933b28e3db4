"""What is said when a model cannot be found, built or read."""

from collections.abc import Iterable


class ModelError(ValueError):
    """A model cannot be found, built or read.

    `message` says what is wrong, `hint` what to do instead; `hint` is empty when there is nothing
    useful to say.

    >>> error = ModelError("model 'net.py' names no callable", hint="write 'net.py:callable'")
    >>> str(error), error.hint
    ("model 'net.py' names no callable", "write 'net.py:callable'")
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RenameError(ModelError):
    """Every reason why a part of a model cannot be given the names of the whole.

    >>> RenameError([ModelError("one"), ModelError("two")]).errors[1].message
    'two'
    """

    def __init__(self, errors: Iterable[ModelError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(error.message for error in self.errors))
