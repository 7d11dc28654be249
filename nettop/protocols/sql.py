"""The kind of an SQL statement, from its first words: never a name or a value out of it."""

import re

_LOOKED_AT = 1024  # bytes of a statement; comments of frameworks in front of it have some hundred
_MAX_COMMENTS = 16
_WORD = re.compile(rb"[A-Za-z]{1,16}+(?![A-Za-z0-9_$.\x80-\xff])")
_SPACE = re.compile(rb"[\s(;]*+")
_CONDITIONAL = re.compile(rb"/\*M?!\d{0,6}+")  # MySQL runs what is inside
_KINDS = frozenset(
    b"SELECT INSERT UPDATE DELETE REPLACE MERGE UPSERT WITH VALUES TABLE CREATE ALTER DROP TRUNCATE COMMENT RENAME "
    b"GRANT REVOKE BEGIN START COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE PREPARE EXECUTE DEALLOCATE DECLARE "
    b"FETCH MOVE CLOSE COPY LOAD CALL DO SET RESET SHOW EXPLAIN DESCRIBE DESC ANALYZE ANALYSE VACUUM REINDEX "
    b"CLUSTER REFRESH LOCK UNLOCK LISTEN NOTIFY UNLISTEN DISCARD CHECKPOINT USE KILL FLUSH OPTIMIZE CHECK CHECKSUM "
    b"REPAIR HANDLER CHANGE PURGE INSTALL UNINSTALL SHUTDOWN RESTART XA STOP SECURITY IMPORT REASSIGN CACHE HELP "
    b"SIGNAL RESIGNAL BINLOG CLONE GET".split()
)
_OBJECTS = frozenset(
    b"TABLE INDEX VIEW SEQUENCE SCHEMA DATABASE FUNCTION PROCEDURE TRIGGER TYPE ROLE USER EXTENSION DOMAIN EVENT "
    b"TABLESPACE POLICY RULE PUBLICATION SUBSCRIPTION SERVER AGGREGATE OPERATOR SYSTEM".split()
)
_QUALIFIERS = frozenset(b"OR TEMP TEMPORARY UNIQUE UNLOGGED GLOBAL LOCAL MATERIALIZED RECURSIVE ONLINE".split())
_WITH_OBJECT = (b"CREATE", b"ALTER", b"DROP")


def statement_kind(statement: bytes) -> str | None:
    """SELECT, CREATE TABLE and so on in capitals; None where the beginning is none that is known."""
    statement = statement[:_LOOKED_AT]
    word, at = _word(statement, _skipped(statement, 0))
    if word not in _KINDS:
        return None
    kind = word.decode("ascii")
    if word in _WITH_OBJECT:
        for _ in range(4):
            word, at = _word(statement, _skipped(statement, at))
            if word in _OBJECTS:
                return f"{kind} {word.decode('ascii')}"
            if word not in _QUALIFIERS and word != b"REPLACE":
                break
    return kind


def _word(statement: bytes, at: int) -> tuple[bytes, int]:
    """The word at this place in capitals, and where it ends; empty where there is none, or it may go on."""
    match = _WORD.match(statement, at)
    if match is None or match.end() == _LOOKED_AT:
        return b"", at
    return match[0].upper(), match.end()


def _skipped(statement: bytes, at: int) -> int:
    """Behind space, brackets and comments."""
    for _ in range(_MAX_COMMENTS):
        space = _SPACE.match(statement, at)
        at = space.end() if space else at
        if statement.startswith(b"/*", at):
            if inside := _CONDITIONAL.match(statement, at):
                at = inside.end()
                continue
            end = statement.find(b"*/", at + 2)
            at = end + 2 if end >= 0 else len(statement)
        elif statement.startswith((b"--", b"#"), at):
            end = statement.find(b"\n", at)
            at = end + 1 if end >= 0 else len(statement)
        else:
            break
    return at
