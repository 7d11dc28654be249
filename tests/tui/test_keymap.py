"""Keys of the user's own."""

import pytest

from nettop.errors import UsageError
from nettop.tui.bindings import bindings
from nettop.tui.keymap import refuse_clashes
from nettop.view.keys import ALL_KEYS, TOGETHER


@pytest.mark.parametrize(
    ("name", "key", "both"),
    [
        ("pause", "z", "'z' is bound to both"),
        ("filter.edit", "question_mark", "'question_mark' is bound to both"),
        ("filter.edit", "?", "'question_mark' is bound to both"),
        ("detail.back", "y", "'y' is bound to both"),
        ("pause", "enter", "'enter' is bound to both"),
        ("help", "ctrl+c", "'ctrl+c' is bound to both"),
    ],
)
def test_one_key_with_two_meanings_is_refused(name: str, key: str, both: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_clashes({name: key})
    assert both in caught.value.message


def test_two_keys_may_be_swapped() -> None:
    refuse_clashes({"names": "h", "rows.ended": "a"})


def test_the_keys_as_declared_do_not_clash() -> None:
    refuse_clashes({})
    assert {key.id for keys in TOGETHER for key in keys} == {key.id for key in ALL_KEYS}
    assert len({key.id for key in ALL_KEYS}) == len(ALL_KEYS)


def test_every_key_says_what_it_does() -> None:
    for binding in bindings(ALL_KEYS):
        assert binding.id
        assert binding.description
        assert binding.tooltip
