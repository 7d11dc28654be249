"""RESP, the protocol of Redis and its relatives: command words, and the class of errors.

https://redis.io/docs/latest/develop/reference/protocol-spec/. A command is told only if it is one that Redis has, or
has the form of a module's: what was taken for the beginning of a message may be a value.
"""

import re

from nettop.protocols.messages import MAX_MESSAGES, Answer, Request

_MAX_PARTS = 1024  # values of one payload that are looked at
_MAX_NUMBER = 10  # digits of a length
_COMMANDS = frozenset(
    b"ACL APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP "
    b"BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT CLUSTER COMMAND COMMANDLOG CONFIG COPY DBSIZE DEBUG DECR "
    b"DECRBY DEL DELEX DIGEST DISCARD DUMP ECHO EVAL EVAL_RO EVALSHA EVALSHA_RO EXEC EXISTS EXPIRE EXPIREAT "
    b"EXPIRETIME FAILOVER FCALL FCALL_RO FLUSHALL FLUSHDB FUNCTION GEOADD GEODIST GEOHASH GEOPOS GEORADIUS "
    b"GEORADIUS_RO GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEOSEARCH GEOSEARCHSTORE GET GETBIT GETDEL GETEX "
    b"GETRANGE GETSET HDEL HELLO HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY "
    b"HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET "
    b"HSETEX HSETNX HSTRLEN HTTL HVALS INCR INCRBY INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS LINDEX LINSERT LLEN "
    b"LMOVE LMPOP LOLWUT LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM MEMORY MGET MIGRATE MODULE MONITOR MOVE "
    b"MSET MSETEX MSETNX MULTI OBJECT PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFMERGE PING PSETEX "
    b"PSUBSCRIBE PSYNC PTTL PUBLISH PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY READWRITE RENAME RENAMENX REPLCONF "
    b"REPLICAOF RESET RESTORE ROLE RPOP RPOPLPUSH RPUSH RPUSHX SADD SAVE SCAN SCARD SCRIPT SDIFF SDIFFSTORE SELECT "
    b"SENTINEL SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER SINTERCARD SINTERSTORE SISMEMBER SLAVEOF SLOWLOG "
    b"SMEMBERS SMISMEMBER SMOVE SORT SORT_RO SPOP SPUBLISH SRANDMEMBER SREM SSCAN SSUBSCRIBE STRLEN SUBSCRIBE "
    b"SUBSTR SUNION SUNIONSTORE SUNSUBSCRIBE SWAPDB SYNC TIME TOUCH TTL TYPE UNLINK UNSUBSCRIBE UNWATCH VADD VCARD "
    b"VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS VRANDMEMBER VRANGE VREM VSETATTR VSIM WAIT WATCH XACK XACKDEL XADD "
    b"XAUTOCLAIM XCLAIM XDEL XDELEX XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID XTRIM ZADD "
    b"ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN "
    b"ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK "
    b"ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE".split()
)
_SUBCOMMANDS = {
    b"ACL": b"CAT DELUSER DRYRUN GENPASS GETUSER LIST LOAD LOG SAVE SETUSER USERS WHOAMI",
    b"CLIENT": (
        b"CACHING GETNAME GETREDIR ID INFO KILL LIST NO-EVICT NO-TOUCH PAUSE REPLY SETINFO SETNAME TRACKING "
        b"TRACKINGINFO UNBLOCK UNPAUSE"
    ),
    b"CLUSTER": (
        b"ADDSLOTS ADDSLOTSRANGE BUMPEPOCH COUNT-FAILURE-REPORTS COUNTKEYSINSLOT DELSLOTS DELSLOTSRANGE FAILOVER "
        b"FLUSHSLOTS FORGET GETKEYSINSLOT INFO KEYSLOT LINKS MEET MYID MYSHARDID NODES REPLICAS REPLICATE RESET "
        b"SAVECONFIG SET-CONFIG-EPOCH SETSLOT SHARDS SLAVES SLOT-STATS SLOTS"
    ),
    b"COMMANDLOG": b"GET LEN RESET",
    b"COMMAND": b"COUNT DOCS GETKEYS GETKEYSANDFLAGS INFO LIST",
    b"CONFIG": b"GET RESETSTAT REWRITE SET",
    b"FUNCTION": b"DELETE DUMP FLUSH KILL LIST LOAD RESTORE STATS",
    b"LATENCY": b"DOCTOR GRAPH HISTOGRAM HISTORY LATEST RESET",
    b"MEMORY": b"DOCTOR MALLOC-STATS PURGE STATS USAGE",
    b"MODULE": b"LIST LOAD LOADEX UNLOAD",
    b"OBJECT": b"ENCODING FREQ IDLETIME REFCOUNT",
    b"PUBSUB": b"CHANNELS NUMPAT NUMSUB SHARDCHANNELS SHARDNUMSUB",
    b"SCRIPT": b"DEBUG EXISTS FLUSH KILL LOAD",
    b"SENTINEL": (
        b"CKQUORUM FAILOVER GET-MASTER-ADDR-BY-NAME IS-MASTER-DOWN-BY-ADDR MASTER MASTERS MONITOR MYID REMOVE "
        b"REPLICAS RESET SENTINELS SET SLAVES"
    ),
    b"SLOWLOG": b"GET LEN RESET",
    b"XGROUP": b"CREATE CREATECONSUMER DELCONSUMER DESTROY SETID",
    b"XINFO": b"CONSUMERS GROUPS STREAM",
}
_TWO_WORDS = {
    (word, second): (word + b" " + second).decode("ascii")
    for word, words in _SUBCOMMANDS.items()
    for second in words.split()
}
_OF_A_MODULE = re.compile(rb"[A-Z]{1,12}\.[A-Z_]{1,24}")  # JSON.SET, FT.SEARCH
_ERROR_CLASS = re.compile(rb"[A-Z][A-Z0-9_]{1,31}(?=[ \r])")
_SUBSCRIBES = frozenset(word.decode("ascii") for word in _COMMANDS if word.endswith(b"SUBSCRIBE"))  # and what ends that
# How lists begin, and how long they are, that are sent to a client that has subscribed
_CONFIRMS = frozenset((word.lower().encode(), 3) for word in _SUBSCRIBES)
_PUSHED = frozenset(((b"message", 3), (b"pmessage", 4), (b"smessage", 3)))
_STREAMS = frozenset(("MONITOR", "PSYNC"))  # behind the answer come commands of others
_UNPAIRED = frozenset(("SYNC", "REPLCONF", "CLIENT REPLY"))  # not each is answered
_PUSH = ord(">")
_LISTS = b"*>"
_LINES = b"+-:_,#("  # types whose value is in the line itself
_BULKS = b"$!="  # types with a length, and so many bytes behind the line
_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}  # and how many values for each counted
_ANSWERED = frozenset(_LINES + _BULKS + bytes(_AGGREGATES))


def requests(payload: bytes) -> tuple[Request, ...]:
    """The commands in a payload, the last of which may be cut; empty where it does not begin with one."""
    found: list[Request] = []
    at, parts = 0, _MAX_PARTS
    while at < len(payload) and len(found) < MAX_MESSAGES:
        if payload[at] != ord("*"):
            if request := _inline(payload, at):
                found.append(request)
            break
        count, at = _number(payload, at + 1)
        if count < 1:
            break
        words: list[bytes] = []
        for place in range(min(count, parts)):
            word, at = _bulk(payload, at)
            if word is None:
                break
            if place < 2:
                words.append(word)
        if not words:
            break
        found.append(_request(words, count - 1))
        parts -= count
        if at < 0 or parts < 0:
            break
    return tuple(found)


def answers(payload: bytes) -> tuple[Answer, ...]:
    """The answers in a payload, the last of which may go on behind it. What the server pushes is none."""
    found: list[Answer] = []
    at, parts = 0, _MAX_PARTS
    while 0 <= at < len(payload) and payload[at] in _ANSWERED and len(found) < MAX_MESSAGES:
        kind = payload[at]
        error = _error(payload, at) if kind in b"-!" else None
        begins = _beginning(payload, at) if kind in _LISTS else None
        at, parts = _skipped(payload, at, parts)
        if kind != _PUSH or begins in _CONFIRMS:
            found.append(Answer(error, at >= 0, confirms=begins in _CONFIRMS, pushed=begins in _PUSHED))
    return tuple(found)


def _request(words: list[bytes], values: int) -> Request:
    """The command, which has so many values behind its first word."""
    first = words[0].upper()
    two = _TWO_WORDS.get((first, words[1].upper())) if len(words) > 1 and first in _SUBCOMMANDS else None
    if two is None and first not in _COMMANDS and not _OF_A_MODULE.fullmatch(first):
        return Request(None)
    command = two or first.decode("ascii")
    if command in _SUBSCRIBES:  # each channel is confirmed; nobody knows how many a client has left that leaves all
        return Request(command, values or None, subscribes=True)
    return Request(command, None if command in _UNPAIRED else 1, streams=command in _STREAMS)


def _inline(payload: bytes, at: int) -> Request | None:
    """A command as people type it: only where it is the whole payload, since any text might begin with a word."""
    line = payload[at : at + 512]
    if at or not line.endswith(b"\n") or line.count(b"\n") != 1:
        return None
    words = line.split()
    request = _request(words[:2], len(words) - 1) if words else None
    return request if request and request.command else None


def _number(payload: bytes, at: int) -> tuple[int, int]:
    """The number that is the rest of a line, and where the next line begins; -2 and -1 where there is none."""
    end = payload.find(b"\r\n", at, at + _MAX_NUMBER + 4)
    digits = payload[at:end]
    if end < 0 or not digits:
        return -2, -1
    if digits == b"-1":
        return -1, end + 2
    return (int(digits), end + 2) if digits.isdigit() and len(digits) <= _MAX_NUMBER else (-2, -1)


def _bulk(payload: bytes, at: int) -> tuple[bytes | None, int]:
    """A word of at most 64 bytes or b"" for what is longer, and where the next begins; -1 where it is cut."""
    if not 0 <= at < len(payload) or payload[at] != ord("$"):
        return None, -1
    size, start = _number(payload, at + 1)
    end = start + size
    if size < 0 or end > len(payload):
        return None if size < 0 or size <= 64 else b"", -1
    return payload[start:end] if size <= 64 else b"", end + 2 if payload[end : end + 2] == b"\r\n" else -1


def _beginning(payload: bytes, at: int) -> tuple[bytes | None, int]:
    """The first string of a list, and how long it is."""
    count, at = _number(payload, at + 1)
    return _bulk(payload, at)[0], count


def _error(payload: bytes, at: int) -> str:
    """The word in capitals with which an error begins. What follows may hold values."""
    if payload[at] == ord("!"):
        at = payload.find(b"\n", at, at + 16)
    match = _ERROR_CLASS.match(payload, at + 1, at + 40)
    return match[0].decode("ascii") if match else "?"


def _skipped(payload: bytes, at: int, parts: int) -> tuple[int, int]:
    """Behind the value at this place, -1 where it goes on behind the payload; and how many more may be looked at."""
    open_values = 1
    while open_values and parts:
        parts -= 1
        open_values -= 1
        if not 0 <= at < len(payload):
            return -1, parts
        kind = payload[at]
        if kind in _LINES:
            end = payload.find(b"\n", at)
            at = end + 1 if end >= 0 else -1
        elif kind in _BULKS:
            size, at = _number(payload, at + 1)
            at = at if size < 0 else at + size + 2
        elif kind in _AGGREGATES:
            size, at = _number(payload, at + 1)
            open_values += max(size, 0) * _AGGREGATES[kind] + (kind == ord("|"))
        else:
            return -1, parts
    return (at if not open_values and at <= len(payload) else -1), parts
