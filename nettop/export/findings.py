"""Findings as text and as JSON, each with the rows that prove it."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from nettop.export.table import grid
from nettop.model.kinds import KINDS
from nettop.model.owners import Owners
from nettop.model.rows import Host, Losses, Row, Scope, Seconds, Time
from nettop.model.snapshot import Snapshot, with_ages
from nettop.view import format as human
from nettop.view.columns import Column, Context
from nettop.view.findings import Finding, Severity, findings
from nettop.view.layout import fit
from nettop.view.panes import PANES

_INDENT = " " * 4
_MOST_ROWS = 5  # of those that prove a finding
_EVIDENCE_CELLS = 110  # for these the columns are chosen; no cell is cut


class FindingRow(Row, frozen=True, gc=False, kw_only=True):
    """One finding. `rows` are the first that prove it, of this table of a snapshot; `filter` shows all of them."""

    rule: str
    severity: Severity
    sentence: str
    table: str
    filter: str
    rows: tuple[Any, ...]


class Diagnosis(Row, frozen=True, gc=False, kw_only=True):
    """What `nettop diagnose --json` writes."""

    schema: Literal["nettop.findings/1"] = "nettop.findings/1"
    nettop: str
    host: Host
    captured_at: Time
    elapsed_s: Seconds
    scope: Scope
    filter: str | None
    losses: Losses
    findings: tuple[FindingRow, ...]


def findings_json(snapshot: Snapshot, whole: Snapshot | None = None) -> tuple[bool, bytes]:
    """Whether there are any, and an indented document with a final newline.

    `whole` is the snapshot before the filter: what is wrong is found in all of it, and said if the filter leaves one of
    the rows that prove it. Among failed queries alone every resolver would fail.
    """
    aged = with_ages(snapshot)
    rows = tuple(
        FindingRow(
            rule=each.rule,
            severity=each.severity,
            sentence=each.sentence,
            table=each.pane,
            filter=each.filter,
            rows=each.rows[:_MOST_ROWS],
        )
        for each in _chosen(aged, with_ages(whole or snapshot))
    )
    document = Diagnosis(
        nettop=aged.nettop,
        host=aged.host,
        captured_at=aged.captured_at,
        elapsed_s=aged.elapsed_s,
        scope=aged.scope,
        filter=aged.filter,
        losses=aged.losses,
        findings=rows,
    )
    return bool(rows), msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _chosen(snapshot: Snapshot, whole: Snapshot) -> list[Finding]:
    """What is wrong in the whole, of which the snapshot still has a row."""
    kinds = {kind.name: kind for kind in KINDS}
    left = {name: set(map(kind.key, kind.rows_of(snapshot))) for name, kind in kinds.items()}
    return [
        finding
        for finding in findings(whole)
        if any(kinds[finding.pane].key(row) in left[finding.pane] for row in finding.rows)
    ]


def findings_text(snapshot: Snapshot, whole: Snapshot | None = None) -> tuple[bool, bytes]:
    """The same as lines to read."""
    found = _chosen(snapshot, whole or snapshot)
    watched = human.long_duration(snapshot.elapsed_s * 1000)
    context = Context(snapshot.captured_at, owners=Owners((whole or snapshot).processes), start=snapshot.started_at)
    if found:
        lines = [line for each in found for line in _finding(each, context)]
    else:
        lines = [f"Nothing found on {snapshot.host.name} in {watched}."]
    return bool(found), "".join(f"{line}\n" for line in lines).encode()


def _telling(columns: Sequence[Column[Any]], rows: Sequence[Any], context: Context) -> list[Column[Any]]:
    """Those in which a row says something; one that stands for several only if each of these does."""
    telling = [each for each in columns if any(each.text(row, context).strip() not in ("", "-") for row in rows)]
    keys = {column.key for column in telling}
    return [column for column in telling if set(column.instead_of) <= keys]


def _finding(finding: Finding, context: Context) -> Iterator[str]:
    yield f"{finding.severity}: {finding.sentence}"
    pane = next(pane for pane in PANES if pane.name == finding.pane)
    rows = finding.rows[:_MOST_ROWS]
    columns = [column for column, _ in fit(_telling(pane.columns, rows, context), _EVIDENCE_CELLS)]
    yield from (f"{_INDENT}{line}" for line in grid(rows, columns, context))
    yield f"{_INDENT}nettop --filter {shlex.quote(finding.filter)}"
