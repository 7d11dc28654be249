"""What happens in the demo, and when: addresses, names, and who fails at which second. All times are seconds from t0.

A web host serves its users while a nightly backup runs. From INCIDENT on, the payment provider's network goes dark, its
names fail, then the first resolver falls silent, lines lose packets, and the log server resets and refuses. From
RECOVERY on all is well again.

Behind the web server an application answers its requests. A checkout needs the payment provider, and fails with it; a
search needs an index elsewhere, and once waits until the packet that the line has swallowed is sent again.
"""

LENGTH_S = 66.0
INCIDENT, RECOVERY = 26.0, 51.0
SILENCE = 33.0, 48.0  # of the first resolver
BACKUP = 8.0, 60.0
LOGS_DOWN = 35.0, 49.0
SWALLOWED = 33.4, 34.4  # what the index is asked then is sent again until it comes through

# What the users' pages ask the application for: when, and what
PAGES_EVERY_S = 5.0
PAGES = ((0.2, "GET /products/{}"), (0.5, "GET /search"), (0.9, "GET /cart/{}"), (1.2, "POST /checkout"))

# The host. Documentation addresses throughout (RFC 5737, RFC 3849).
HOST_IPV4, HOST_IPV6 = "198.51.100.10", "2001:db8:100::10"
# Its own network, a fraction of a millisecond away
RESOLVERS = ("198.51.100.53", "198.51.100.54")
REPLICA, CACHE, LOGS, MONITORING, ADMIN = (f"198.51.100.{number}" for number in (21, 30, 60, 50, 7))
NEAR = "198.51.100."
# The Internet
PAYMENTS, INDEX, BACKUP_V4, STATUS, MAIL, DARK_MAIL, TIME = (
    f"203.0.113.{number}" for number in (40, 41, 5, 80, 25, 26, 123)
)
NO_ROUTE = "192.0.2.77"  # the outside answers for it with ICMP unreachable
SHOP, CDN = "192.0.2.44", "192.0.2.45"
BACKUP_V6, STATUS_V6 = "2001:db8:200::5", "2001:db8:200::80"
USERS_V4 = [f"203.0.113.{number}" for number in range(131, 161)]
USERS_V6 = [f"2001:db8:200::1:{number:x}" for number in range(1, 9)]
OUTSIDE_V4 = [*RESOLVERS, REPLICA, CACHE, LOGS, MONITORING, ADMIN, PAYMENTS, INDEX, BACKUP_V4, STATUS, MAIL, DARK_MAIL,
              TIME, SHOP, CDN, *USERS_V4]  # fmt: skip
OUTSIDE_V6 = [BACKUP_V6, STATUS_V6, *USERS_V6]

Record = tuple[str, str]  # type and data
ZONE: dict[str, list[Record]] = {
    "payments.example.net": [("CNAME", "lb.payments.example.net")],
    "lb.payments.example.net": [("CNAME", "eu-1.lb.example.net")],
    "eu-1.lb.example.net": [("A", PAYMENTS)],
    "db.example.com": [("A", HOST_IPV4)],
    "cache.example.com": [("A", CACHE)],
    "logs.example.org": [("A", LOGS)],
    "backup.example.org": [("AAAA", BACKUP_V6), ("A", BACKUP_V4)],
    "status.example.com": [("AAAA", STATUS_V6), ("A", STATUS)],
    "time.example.com": [("A", TIME)],
    "search.example.com": [("A", INDEX)],
    "shop.example.com": [
        ("HTTPS", "1 . alpn=h3,h2 ipv4hint=192.0.2.44"),
        ("A", SHOP),
    ],
    "www.example.org": [("CNAME", "cdn.example.net")],
    "cdn.example.net": [("A", CDN)],
    "example.net": [
        ("MX", "10 mx1.example.net"),
        ("MX", "20 mx2.example.net"),
        *(
            ("TXT", "v=spf1 " + " ".join(f"ip4:192.0.2.{16 * net}/28" for net in range(8)) + f" include:_spf{number}")
            for number in range(4)
        ),
    ],
    "mx1.example.net": [("A", MAIL)],
    "mx2.example.net": [("A", DARK_MAIL)],
    "spool.example.org": [("A", NO_ROUTE)],
    "metrics.example.org": [("A", NO_ROUTE)],
    "134.113.0.203.in-addr.arpa": [("PTR", "dsl-134.users.example.net")],
    "147.113.0.203.in-addr.arpa": [("PTR", "dsl-147.users.example.net")],
}


def is_dark(far: str, now: float) -> bool:
    """Whether packets to and from this address vanish."""
    swallowed = far == INDEX and SWALLOWED[0] <= now < SWALLOWED[1]
    return far == DARK_MAIL or swallowed or (far == PAYMENTS and INCIDENT <= now < RECOVERY)


def loss(far: str, now: float) -> float:
    """The share of packets that get lost on the way."""
    if far.startswith(NEAR) or far == INDEX:
        return 0.0
    return 0.025 if INCIDENT <= now < RECOVERY else 0.001


def delay(far: str, now: float) -> tuple[float, float]:
    """Seconds that a packet takes one way, and how many more it may."""
    if far.startswith(NEAR):
        return 0.0001, 0.0002
    near = 0.004 if far in (PAYMENTS, INDEX, SHOP, CDN) else 0.011 + (hash_of(far) % 25) / 1000
    return (near * 1.6, 0.012) if INCIDENT <= now < RECOVERY else (near, 0.002)


def hash_of(text: str) -> int:
    """The same in every run, unlike hash()."""
    return sum((place + 1) * ord(character) for place, character in enumerate(text))


def dns_answer(resolver: str, qname: str, attempt: int, now: float) -> tuple[str, float] | None:
    """The code of the answer and how many seconds it takes; None for silence. `attempt` counts the name's queries."""
    first = resolver == RESOLVERS[0]
    if first and SILENCE[0] <= now < SILENCE[1]:
        return None
    if qname.startswith("slow.") and attempt % 3:
        return None
    work_s = 0.008 + hash_of(qname) % 37 / 1000 if attempt == 0 else 0.0002
    if not first:
        work_s += 0.045
    if qname.endswith("payments.example.net") and INCIDENT + 1 <= now < SILENCE[0] + 5:
        return "SERVFAIL", 0.42 + work_s
    return ("NOERROR" if qname in ZONE or qname.startswith("slow.") else "NXDOMAIN"), work_s
