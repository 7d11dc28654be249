"""The domain that somebody registered, by the Public Suffix List that comes with its library; the network is not asked.

Loading it takes 50 ms and 2 MB, so that waits until somebody wants to see domains.
"""

from collections.abc import Callable
from functools import lru_cache

_DOMAINS_REMEMBERED = 32_768  # as many as addresses; some 5 MB
_GUESSED = "~"


@lru_cache(maxsize=_DOMAINS_REMEMBERED)
def registered_domain(name: str) -> str:
    """`example.co.uk` of `www.example.co.uk`: a label below the suffix under which a registry takes registrations.

    Suffixes that companies have entered for their customers (`s3.amazonaws.com`) are not among these. Below a suffix
    that is not on the list (`cluster.local`) its last two labels; a name without a domain stays what it is. `~` marks
    the last two labels where the list could not be read.
    """
    domain = _find()
    if domain is None:
        return _GUESSED + ".".join(name.lower().split(".")[-2:])
    return domain(name) or name.lower()


@lru_cache(maxsize=1)
def _find() -> Callable[[str], str | None] | None:
    try:
        from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - see above

        found: Callable[[str], str | None] = PublicSuffixList(only_icann=True).privatesuffix
    except (ImportError, OSError):  # nettop has dropped its privileges: it may not be able to read its own files
        return None
    return found
