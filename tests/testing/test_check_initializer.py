"""Every registered initializer keeps its promises, and every broken one is found out."""

import broken_laws
import pytest

from initpolicy import initializers
from initpolicy.testing import check_initializer
from initpolicy.testing.checking import BrokenInitializerError


@pytest.mark.parametrize("name", initializers.names())
def test_every_registered_initializer_keeps_its_promises(name):
    check_initializer(name, examples=8)


def test_a_sound_law_of_another_package_passes():
    check_initializer(broken_laws.sound)


@pytest.mark.parametrize(
    ("code", "initializer"), broken_laws.BROKEN, ids=lambda one: getattr(one, "__name__", one)
)
def test_a_broken_one_is_found_by_its_code_alone(code, initializer):
    with pytest.raises(BrokenInitializerError) as caught:
        check_initializer(initializer)
    print(caught.value)
    assert {problem.code for problem in caught.value.problems} == {code}
