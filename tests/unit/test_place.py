"""What the kernel forbids to all."""

import errno

import pytest

from nettop.errors import CannotRunError
from nettop.kernel import place, syscalls


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def load_program(*_arguments: object) -> int:
        raise syscalls.VerifierError(number, "")

    monkeypatch.setattr(syscalls, "load_program", load_program)


def test_a_kernel_whose_memory_nobody_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EINVAL)
    with pytest.raises(CannotRunError, match="locked down for confidentiality") as caught:
        place.require_readable_kernel()
    assert "lockdown=integrity" in caught.value.remedy


def test_who_may_not_load_programs_has_not_learned_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EPERM)
    place.require_readable_kernel()
