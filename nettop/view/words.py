"""What the words on the screen mean, for the help, the manual and docs/screen.md."""

from collections.abc import Mapping

from nettop.model.rows import DnsStatus, End, TcpState

STATUS_BAR: Mapping[str, str] = {
    "LIVE": "the view follows this host",
    "REPLAY": "a recording plays; SEEKING while it goes to another place, END OF RECORDING once it has ended",
    "SNAPSHOT": "a snapshot from a file",
    "PAUSED": "the view stands still while nettop keeps collecting; in parentheses the rows that are new since",
    "since": "when the view was paused; on the second line when the mark was set, from which totals count",
    "only new since": "only what began after the mark is shown; key M shows the rest again",
    "every": "how often counters are read; keys + and - change it",
    "tx rx": "payload sent and received per second, by all processes that are in scope",
    "peak": "the rate that the highest bar beside it stands for",
    "conn": "open TCP connections",
    "dns": "DNS queries per second; of a snapshot from a file, all of them",
    "failed": "share of the DNS queries that came to an end in the last interval with an error, a timeout or a refusal",
    "nxdomain": "share of them whose name does not exist, which is not in failed; search lists cause many",
    "nothing lost": "all that happened in scope is here",
    "lost": "records that nettop did not get: a buffer had no room for them, or the kernel skipped a run of a program",
    "map full": "sockets that the kernel-side table of sockets, or of their turns, had no room for",
    "forgotten": "open queries, pieces of DNS over TCP, records of long answers and names that nettop had no room for",
    "unparsed": "DNS messages that could not be parsed to the end",
    "DNS left out": "repeated queries, segments of DNS over TCP, multicast messages and refusals beyond the rate that "
    "nettop looks at, and answers that may belong to a query that had to give way to newer ones",
    "drops without reason": "dropped packets, resets and ICMP errors beyond the 1,024 combinations of far end and "
    "reason, and as many of process and reason, that the kernel side keeps apart between two ticks",
    "packets of other hosts": "packets from remote addresses that have no row, because too many came at once",
    "not listed": "queries, requests and connections that are in the totals of their process, but have no row of their "
    "own",
    "TLS handshakes left out": "handshakes, and first packets of QUIC, that came too fast to be looked at: their "
    "connections have no server name",
    "unasked answers": "DNS answers that no query was waiting for: from a server that was not asked, or forged",
    "unattributed": "payload without one known process, for example on a UDP or raw socket that several processes "
    "share",
    "recorded with filter": "the filter that chose what is in the file",
    "filter": "only rows that match are shown",
    "ended rows hidden": "what has ended is not shown; key h shows it again",
    "only": "the scope: what --pid, --comm, --netns, --unit and --container chose",
    "kept": "how far back the rows go of which older ones made room; history.* in the settings says how many are kept",
}
"""Words of the status bar, in its order."""

STATES: Mapping[TcpState, str] = {
    "syn-sent": "this end has asked for a connection; no answer yet",
    "syn-recv": "the far end has asked for a connection; the handshake is under way",
    "established": "open in both directions",
    "fin-wait-1": "this end has closed; the far end has not acknowledged that",
    "fin-wait-2": "this end has closed; the far end has not closed yet",
    "close-wait": "the far end has closed, and this process has not: a leak, if it lasts",
    "closing": "both ends have closed at the same time",
    "last-ack": "both ends have closed, the far end first; its last acknowledgement is missing",
    "time-wait": "over; the kernel keeps the address for a minute, without a process",
    "closed": "over; END says how",
    "listen": "waits for connections (listeners only)",
}

ENDS: Mapping[End, str] = {
    "normal": "both ends closed it",
    "reset-by-peer": "the far end broke it off (RST)",
    "reset-by-us": "this process broke it off (RST)",
    "refused": "nobody listens on the port that it asked for",
    "timeout": "the far end, or the network, did not answer for too long",
    "given-up": "the program closed it before there was an answer",
    "unreachable": "ICMP said that there is no way to the far end",
    "rejected": "ICMP said no at once, as a firewall of this host does",
    "no-route": "connect() found no route to this address",
    "denied": "another BPF program denied the connect()",
    "unsent": "connect() found no route, or another BPF program denied it; this kernel does not say which",
    "no-port": "every local port that it could have used was taken",
    "other": "another error",
}

RESULTS: Mapping[DnsStatus | str, str] = {
    "NOERROR": "answered; without records if there are none of the type asked for",
    "NXDOMAIN": "answered: there is no such name",
    "SERVFAIL": "answered: the server could not find out",
    "REFUSED": "answered: the server does not want to",
    "TIMEOUT": "no answer in time",
    "CLOSED": "the program was told at once that nobody serves there (ICMP)",
    "pending": "no answer yet",
    "forgotten": "nettop has stopped waiting: whether an answer came is not known",
}
"""Those that one meets. Other answer codes stand under their own names (RFC 6895)."""
