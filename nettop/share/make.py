"""Writes manual, completions and dashboard next to this file: from the parser, keys, columns, settings and docs/.

Run by `make share`. It needs development packages, so it is not in the wheel.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import shtab

from nettop import __version__
from nettop.cli.options import FILTER_RULES
from nettop.cli.parser import make_parser
from nettop.errors import CannotRunError, RunError, UsageError
from nettop.model.filter import FILTER_KEYS, FILTER_WORDS
from nettop.settings.declared import SETTINGS
from nettop.share import completions, options
from nettop.share.dashboard import dashboard
from nettop.share.roff import bold, capital, definition, plain
from nettop.view import keys
from nettop.view.grouping import column_lists
from nettop.view.panes import PANES

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
SETTINGS_PAGE = DOCS / "settings.md"
_CHANGED = "November 27, 2026"  # when the meaning of the manual last changed
_SUMMARY = "top for the network of a Linux host, from eBPF"
_DESCRIPTION = (
    "nettop shows which process asks which DNS names and what the answers are, which TCP connections are open, for "
    "whom they wait and how they end, and how much each process sends and receives; also listening sockets, remote "
    "hosts, UDP flows and dropped packets.",
    "Without a command it opens the live screen. The options --pid, --comm and --netns choose what is watched at all; "
    "each may be repeated, and one value of each given option must match. --filter chooses among the rows.",
)
_CELL = 80  # characters of a table's cell at most
_COMPLETIONS = {"bash": "nettop.bash", "zsh": "_nettop", "fish": "nettop.fish"}
_BASH_WITHOUT_SPACE = """

# what ends in a colon goes on
_nettop_complete() {
  _shtab_nettop "$@"
  if [[ ${COMPREPLY[0]-} == *: ]]; then compopt -o nospace 2>/dev/null; fi
  return 0
}
complete -o bashdefault -F _nettop_complete nettop
"""
_KEY_GROUPS = {
    "On the main screen": keys.MAIN_KEYS,
    "On a table": (*keys.TABLE_KEYS, *keys.ARROW_KEYS),
    "While a recording is played": keys.PLAYER_KEYS,
    "In a detail view": keys.DETAIL_KEYS,
    "While typing a filter": keys.FILTER_KEYS,
    "While searching": keys.SEARCH_KEYS,
    "While typing a path": keys.PATH_KEYS,
    "On the card of x": keys.CUT_KEYS,
    "In a menu": keys.CHOICE_KEYS,
    "While choosing columns": keys.COLUMNS_KEYS,
    "In the help": keys.HELP_KEYS,
    "Everywhere": keys.APP_KEYS,
}
_UNITS = (
    "Sizes are bytes of payload, without headers and retransmissions; K is 1024 bytes, M 1024 K, G 1024 M. Rates are "
    "per second over the last interval. Times of day are local; durations show their unit. Round-trip time is the "
    "kernel's smoothed estimate. A dash means none or unknown. Settings use the name in front."
)
_FILES = {
    "~/.config/nettop/config.toml": "Settings. In $XDG_CONFIG_HOME/nettop instead, if that is set. Under sudo it is "
    "the file of the user who ran sudo; that user must own it, or everybody may read it.",
    "PATH.PID.partial": "The output of -o until it is complete. Files get mode 0600, those of metrics "
    "0644, belong to the user who ran sudo, and replace an existing file only with --force.",
    "/var/cache/nettop": "Compiled kernel programs, owned by root. Without it, every start compiles them.",
    "/sys/kernel/btf/vmlinux": "The layout of the kernel's structures, for which the programs are compiled.",
}
_VARIABLES = {
    "NO_COLOR": "If set and not empty, the screen has no colours.",
    "SUDO_UID, SUDO_GID": "Set by sudo: the user whose settings are used and who owns written files.",
    "XDG_CONFIG_HOME": "See FILES.",
}
_EXAMPLES = {
    "sudo nettop": "The live screen.",
    "sudo nettop --netns web --filter 'dns:failed or state:open'": "Only the network namespace web; failed DNS "
    "queries and open connections.",
    "sudo nettop snapshot --for 10 -o now.json": "Ten seconds as one JSON document.",
    "sudo nettop snapshot --format table --table processes --sort tx --top 20": "The twenty processes that have sent "
    "most, as text for a pipe or a screen reader.",
    "sudo nettop snapshot --format table --table connections --group unit --sort tx": "The units by what their "
    "connections have sent.",
    "nettop replay now.json --snapshot --format csv --table dns -o dns.csv": "Its queries for a spreadsheet.",
    "sudo nettop stream -o incident.jsonl": "A recording, until Ctrl-C.",
    "sudo nettop metrics --listen 127.0.0.1:9469": "Sums by unit and comm, for Prometheus to scrape.",
    "sudo nettop stream --final": "Each connection, query and request once, when it is over, for a database.",
    "nettop replay incident.jsonl": "Play it on the screen, without root.",
    "ssh host sudo nettop stream | nettop replay -": "The screen here, the traffic of another host.",
}
_EXIT_STATUS = {
    "0": "Done.",
    str(RunError.exit_code): "Failed while running.",
    str(UsageError.exit_code): "Wrong usage: an option, a filter, a setting, a file.",
    str(
        CannotRunError.exit_code
    ): "Cannot run here: a privilege, a kernel feature or BCC is missing; nettop doctor says which.",
}

# By pane and column: what does not fit into a heading and a line of the help
_EXACTLY = {
    "dns result": "The answer's code (NOERROR, NXDOMAIN, SERVFAIL, ...). TIMEOUT: no answer within 5 seconds of the "
    "last attempt; an answer within 30 more seconds still counts. CLOSED: the kernel told the program that nobody "
    "serves at that address. Forgotten: nettop stopped waiting, because its table was full, the socket reused the id "
    "for another question, or records were lost.",
    "dns latency": "Time from the first attempt leaving this host to the answer arriving.",
    "dns attempts": "The same question with the same id from the same socket is another attempt, not another query.",
    "dns answers": "Addresses first. Records that nettop does not keep are counted.",
    "connections comm": "The name at the last network event or exec.",
    "connections remote": "The name that the owner looked up itself, or else one that another process in the same "
    "network namespace looked up. nettop sends no queries.",
    "connections tx": "The kernel's bytes_sent minus bytes_retrans.",
    "connections rx": "The kernel's bytes_received: data in order, counted once.",
    "connections retransmits": "The kernel's total_retrans.",
    "connections end": "Normal: both sides closed. Reset by peer or by us. Refused, timeout, unreachable: the error of "
    "connect() or of a later call. Given up: closed before it was established. Unseen: it disappeared without an event "
    "that nettop saw.",
    "processes active": "TCP, at the last interval.",
    "processes failed": "Outbound TCP connections that were never established.",
    "processes dns_failed": "An answer code other than NOERROR, TIMEOUT, or CLOSED.",
    "processes traffic": "Each row is scaled to its own maximum.",
}


def main() -> None:
    """Write them all."""
    for name, text in files().items():
        (HERE / name).write_text(text)
    SETTINGS_PAGE.write_text(settings_page())


def files() -> dict[str, str]:
    """The generated texts by file name."""
    made = {"nettop.1": manual()}
    for shell, name in _COMPLETIONS.items():
        made[name] = shtab.complete(_parser(), shell)
    made[_COMPLETIONS["bash"]] += _BASH_WITHOUT_SPACE
    made["dashboard.json"] = dashboard()
    return made


def _parser() -> argparse.ArgumentParser:
    """The real one, with what completes each option."""
    parser = make_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for each in (parser, *commands.choices.values()):
        for action in each._actions:
            completions.offer(action)
    return parser


def manual() -> str:
    """nettop(1)."""
    parser = _parser()
    lines = [f'.TH NETTOP 1 "{_CHANGED}" "nettop {__version__}" "User Commands"']
    for heading, section in (
        ("name", [plain(f"nettop - {_SUMMARY}")]),
        ("synopsis", options.synopsis(parser)),
        ("description", [plain(line) for line in _DESCRIPTION]),
        ("commands", options.commands(parser)),
        ("options", options.options(parser)),
        ("examples", _definitions(_EXAMPLES.items())),
        ("keys", _keys()),
        ("status bar", _status_bar()),
        ("filter language", _filter()),
        ("columns", _columns()),
        ("settings", _settings()),
        ("exit status", _definitions(_EXIT_STATUS.items())),
        ("files", _definitions(_FILES.items())),
        ("environment", _definitions(_environment())),
        ("limits", _limits()),
        ("see also", [".BR ss (8),", ".BR tcpdump (8),", ".BR bpftool (8)"]),
    ):
        lines += [f".SH {heading.upper()}", *section]
    return "\n".join(lines) + "\n"


def _keys() -> Iterator[str]:
    yield plain("The id in brackets is the name in the table [keys] of config.toml, which assigns other keys.")
    for heading, group in _KEY_GROUPS.items():
        yield f".SS {plain(heading)}"
        yield from _definitions(
            (key.shown_as or key.keys.replace(",", " "), f"{key.meaning} [{key.id}].") for key in group
        )


def _filter() -> Iterator[str]:
    yield from map(plain, FILTER_RULES)
    explained = {**{f"{key}:": meaning for key, meaning in FILTER_KEYS.items()}, **FILTER_WORDS}
    yield from _definitions((key, f"{capital(meaning)}.") for key, meaning in explained.items())


def _columns() -> Iterator[str]:
    yield plain(_UNITS)
    for pane in PANES:
        yield f".SS {plain(pane.kind.title)}"
        yield from _definitions(
            (
                f"{column.key} ({column.title})",
                f"{capital(column.meaning)}. {_EXACTLY.get(f'{pane.name} {column.key}', '')}".rstrip(),
            )
            for column in pane.columns
        )
    for heading, columns in column_lists():
        yield f".SS {plain(heading)}"
        yield from _definitions((f"{column.key} ({column.title})", f"{capital(column.meaning)}.") for column in columns)


def _settings() -> Iterator[str]:
    yield plain(
        "The command line overrides the environment, which overrides config.toml, which overrides the default. "
        "'nettop config' prints the settings in effect and their sources. A name with a dot belongs to a table: "
        "history.dns is dns in [history]. In the environment, commas separate the items of a list."
    )
    for each in SETTINGS:
        elsewhere = ", ".join(filter(None, (each.option, each.variable)))
        also = f" Also {elsewhere}." if elsewhere else ""
        meaning = f"{capital(each.help)}. {capital(each.kind.values)}.{also}"
        yield from _definitions([(f"{each.name} = {each.default_toml}", meaning)])


def _environment() -> Iterator[tuple[str, str]]:
    yield from sorted(_VARIABLES.items())
    yield "NETTOP_*", "Settings, named there. sudo passes on only what follows it: sudo NETTOP_X=Y nettop."


def settings_page() -> str:
    """docs/settings.md with the table of settings that there are."""
    lines = ["| setting | default | takes | meaning |", "| -- | -- | -- | -- |"]
    for each in SETTINGS:
        takes = each.kind.values if len(each.kind.values) < _CELL else "one of those that the manual lists"
        option = f" (`{each.option}`)" if each.option else ""
        lines.append(f"| `{each.name}` | `{each.default_toml}` | {takes} | {each.help}{option} |")
    before, _, after = SETTINGS_PAGE.read_text().partition(lines[0])
    return "".join((before, "\n".join(lines), "\n\n", after.partition("\n\n")[2]))


def _limits() -> Iterator[str]:
    yield plain("What nettop cannot see, and why:")
    rows = _table(DOCS / "limits.md", "What nettop cannot see")
    yield from _definitions((_sentence(what), _sentence(why)) for what, why in rows)


def _status_bar() -> Iterator[str]:
    yield plain("The two lines at the top of the screen use these words:")
    rows = _table(DOCS / "screen.md", "Status bar")
    yield from _definitions((word.strip("`"), _sentence(meaning)) for word, meaning in rows)


def _table(page: Path, section: str) -> list[tuple[str, str]]:
    """The table of two columns in this section, without its head."""
    text = page.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    rows = [re.fullmatch(r"\| (.+?) \| (.+) \|", line) for line in text.splitlines()]
    return [(row[1], row[2]) for row in rows if row][2:]


def _sentence(markdown: str) -> str:
    return f"{capital(markdown.replace('`', ''))}."


def _definitions(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in pairs:
        yield from definition(bold(term), plain(meaning))


if __name__ == "__main__":
    main()
