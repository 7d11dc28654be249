"""What is said when the kernel refuses a program."""

import ctypes
import errno
import struct

import pytest

from nettop.kernel import syscalls
from nettop.kernel.syscalls import VerifierError

LOG_FIELDS_AT = 24  # log_level, log_size, log_buf in union bpf_attr, include/uapi/linux/bpf.h


class Kernel:
    """bpf(2) that answers with these errors in turn, and writes the verifier's words where it is asked for them."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self._answers = iter(answers)
        self.log_sizes: list[int] = []

    def __call__(self, _command: int, attributes: bytes) -> int:
        level, size, address = struct.unpack_from("<IIQ", attributes, LOG_FIELDS_AT)
        self.log_sizes.append(size)
        number, words = next(self._answers)
        if level:
            ctypes.memmove(address, words, len(words))
        raise OSError(number, "")


def refusal(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> VerifierError:
    monkeypatch.setattr(syscalls, "_bpf", kernel)
    with pytest.raises(VerifierError) as caught:
        syscalls.load_program("trial", syscalls.TRACING, 0, 0, bytes(8))
    return caught.value


def test_the_verifiers_words_are_asked_for_once_it_has_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel((errno.EACCES, b""), (errno.EACCES, b"R1 type=scalar"))
    error = refusal(kernel, monkeypatch)
    assert (error.errno, error.words) == (errno.EACCES, "R1 type=scalar")
    assert kernel.log_sizes == [0, 1 << 20]


def test_what_a_long_log_takes_is_not_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.4 a log that does not fit is cut at its end, and that is then the error."""
    kernel = Kernel((errno.EINVAL, b""), (errno.ENOSPC, b"0: "), (errno.EINVAL, b"0: (bf) r1 = r2\nR2 !read_ok"))
    error = refusal(kernel, monkeypatch)
    assert (error.errno, error.words) == (errno.EINVAL, "0: (bf) r1 = r2\nR2 !read_ok")
    assert kernel.log_sizes == [0, 1 << 20, 1 << 24]


def test_the_reason_is_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel((errno.EPERM, b""), (errno.ENOMEM, b""))
    assert refusal(kernel, monkeypatch).errno == errno.EPERM


def test_words_that_are_cut_are_better_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel((errno.EINVAL, b""), (errno.ENOSPC, b"0: "), (errno.ENOMEM, b""))
    error = refusal(kernel, monkeypatch)
    assert (error.errno, error.words) == (errno.EINVAL, "0: ")
