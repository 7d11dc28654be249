"""The way of DNS under atheris. Run by fuzz.py; a process of its own, because libFuzzer ends it.

The first byte of an input says what the rest is: bit 0 an answer, bit 1 over TCP, bits 2-7 how large
its segments are.
"""

import sys

import atheris

with atheris.instrument_imports(include=["nettop.tracking", "dnslib"]):
    from tests.hostile import dns_cases
    from tests.hostile.dns_path import DnsPath

_path = DnsPath()


def one_input(data: bytes) -> None:
    how, rest = data[0] if data else 0, data[1:]
    if how & 2:
        size = (how >> 2) + 1
        cuts = list(range(size, len(rest), size)) if how >> 2 else []
        _path.play(dns_cases.tcp(rest, cuts[:60], query=not how & 1))
    else:
        _path.play(dns_cases.udp(rest, query=not how & 1))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
