/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What crosses from the kernel programs to nettop: how the bytes lie.
 *
 * nettop/kernel/abi.py declares the same fields with the same names, where `owner.pid` is owner_pid and what lies in
 * `entry` stands for itself; tests/abi compares the two, field by field and constant by constant.
 * Rules: fixed-width fields, explicit padding, natural alignment, size asserted. Times are bpf_ktime_get_ns()
 * (CLOCK_MONOTONIC) in nanoseconds, except where "boot" stands in the name. Ports are in host order, addresses in
 * network order (IPv4 in the first four bytes).
 */
#ifndef NETTOP_ABI_H
#define NETTOP_ABI_H

#define IPPROTO_TCP 6 /* include/uapi/linux/in.h */
#define IPPROTO_UDP 17
#define PROTOCOL_OTHER 255 /* any other one, and raw sockets of whichever protocol; ping(8), traceroute(8), routing daemons */

#define COMM_BYTES 16 /* TASK_COMM_LEN, include/linux/sched.h */
#define ADDRESS_BYTES 16
#define INTERFACE_BYTES 16 /* IFNAMSIZ, include/uapi/linux/if.h */

/* How sure the owner of a socket is. It is lowered only where the owner no longer holds the socket and another does. */
#define OWNER_UNKNOWN 0
#define OWNER_SCANNED 1 /* found holding the socket in its table of open files */
#define OWNER_EXACT 2   /* was seen in the act: it made the socket, connected, sent or closed */

#define SOCKET_OUTBOUND 1  /* connect() made it */
#define SOCKET_INBOUND 2   /* a listener's child */
#define SOCKET_OLD 4       /* existed before nettop did, or its beginning was not seen */
#define SOCKET_LISTENER 8
/* More than one process has sent on it (not TCP), so its bytes have no one owner. A listener: more than one process holds it. */
#define SOCKET_SHARED 16
#define SOCKET_REJECTED 32 /* TCP: an ICMP error came while its program was still in connect(): from this host, or from very near */
#define SOCKET_UNSENT 64   /* TCP: connect() has begun, and made no segment yet */
#define SOCKET_DENIED 128  /* and a program of another on a cgroup has said no */

/* Of a connect() that has made no segment: what is known of why it failed. */
#define UNSENT_NO_ROUTE 1
#define UNSENT_DENIED 2             /* SOCKET_DENIED */
#define UNSENT_NO_ROUTE_OR_DENIED 3 /* before Linux 6.1 the kernel does not say */
#define UNSENT_NO_PORT 4            /* every port that it might have used is taken */

/*
 * Of the name of a cgroup that is watched what is compared: runtimes write 64 digits and two words, units are mostly short. A
 * longer one counts as equal to another that begins like it.
 */
#define CGROUP_NAME_BYTES 128
#define IN_UNIT 1
#define IN_CONTAINER 2

/* A process: group leader's name and start, so that threads of any name belong to it and a reused pid does not. */
struct process_id {
	__u64 start_boot_ns; /* task_struct.start_boottime of the group leader, CLOCK_BOOTTIME */
	__u32 pid;           /* tgid */
	__u32 uid;
	char comm[COMM_BYTES];
};
_Static_assert(sizeof(struct process_id) == 32, "process_id");

/* Value of the map `sockets`, keyed by the kernel address of the socket. */
struct socket_entry {
	struct process_id owner;
	__u64 seen_ns;        /* when this entry was made: with the key, the identity of the socket */
	__u64 opened_ns;      /* 0: before nettop */
	__u64 established_ns; /* 0: not (yet), or before nettop */
	__u64 closing_ns;     /* TCP: when TCP_ESTABLISHED was left by the first FIN, sent or received; 0 as above */
	__u64 closing_on_ns;  /* TCP: when the state after that one began */
	__u64 kept_tx_bytes;  /* TCP: payload sent before the entry was made. All others: payload counted so far */
	__u64 kept_rx_bytes;
	__u64 kept_tx_packets; /* UDP: datagrams to and from remote_address. TCP: segments before the entry was made */
	__u64 kept_rx_packets;
	__u64 others_tx_bytes; /* UDP: of the payload what was for others than remote_address; see the map udp_flows */
	__u64 others_rx_bytes;
	__u64 reported_sum;   /* what a pass last reported, so that it can pass over what has not changed */
	__u32 netns;          /* inode number of the network namespace */
	__u16 family;         /* AF_INET 2, AF_INET6 10 */
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol;        /* IPPROTO_TCP, IPPROTO_UDP or PROTOCOL_OTHER */
	__u8 owner_certainty;
	__u8 flags;
	__u8 reported_state;  /* 0: never reported */
	__u8 reported_owner;
	__u8 dropped;         /* 1: something of it was counted in `drops` */
	__u8 pad[4];
	__u32 kept_dropped;   /* what the socket had refused before the entry was made: datagrams, or as in rx_dropped */
	__u32 held_scan;      /* the last scan of open files during which the owner held the socket, or that began before it */
	__u32 unlisted_queries;  /* UDP: DNS messages that were counted instead of listed, modulo 2^32 */
	__u32 unlisted_answered;
	__u32 unlisted_failed;   /* of the answered those with another code than NOERROR */
	__u8 local_address[ADDRESS_BYTES];
	/* UDP: whom the socket exchanged its first datagram with, IPv4 as IPv4-mapped IPv6; zero: nobody yet */
	__u8 remote_address[ADDRESS_BYTES];
};
_Static_assert(sizeof(struct socket_entry) == 200, "socket_entry");

/* Who has sent payload on a connection, or asks there. */
#define SPEAKER_NOBODY 0
#define SPEAKER_LOCAL 1
#define SPEAKER_REMOTE 2

/* What a connection does at the moment: 1 and enum tcp_chrono of include/linux/tcp.h; 0 if that is not known. */
#define SENDING_UNKNOWN 0
#define SENDING_NOTHING 1
#define SENDING_BUSY 2
#define SENDING_RWND_LIMITED 3
#define SENDING_SNDBUF_LIMITED 4

#define RECENT_ANSWERS 4 /* of a connection whose times are kept one by one, for the percentiles of its process */

/*
 * A socket as it was at time_ns: at its end (perf buffers tcp_events, udp_events) or as a pass found it.
 * tx_bytes and rx_bytes are the payload over the whole life (TCP) or since nettop started (all others); of PROTOCOL_OTHER
 * it is that of IP, and begins with the header of ICMP or whatever it is.
 */
struct socket_record {
	__u64 time_ns;
	__u64 socket; /* the map's key; with entry.seen_ns it is unique */
	struct socket_entry entry;
	__u64 tx_bytes;
	__u64 rx_bytes;
	__u64 tx_packets;  /* UDP: kept_tx_packets. TCP: segments since the entry was made, modulo 2^32 */
	__u64 rx_packets;
	__u32 srtt_us8;    /* tcp_sock.srtt_us: microseconds times 8 */
	__u32 retransmits; /* tcp_sock.total_retrans: segments */
	__u32 error;       /* sock.sk_err: errno, 0 none */
	/* By the socket's own counter, since the entry was made: datagrams that it refused. A listener: SYNs, and last packets
	   of handshakes, that it refused, mostly because its accept queue was full. Other TCP: 0. */
	__u32 rx_dropped;
	__u8 state;        /* sock_common.skc_state; at the end of a connection the state before TCP_CLOSE */
	__u8 owned;        /* sock.sk_lock.owned: the current process caused this transition */
	__u8 closed;       /* 1 in events, 0 in those of a pass */
	__u8 peer_closed;  /* TCP: the far end's FIN has come */
	__u8 unsent;       /* TCP, at the end: UNSENT_*, why connect() has made no segment; 0: it has */
	__u8 database;     /* TCP: DATABASE_* */
	__u8 pad[2];
	/* From here on only of TCP: events of others, and of what was never sent, end here. Turns of a connection, since asker is not SPEAKER_NOBODY: bpf/turns.c. */
	__u64 spoke_ns;    /* when payload of whoever spoke last was sent or received last; 0: nobody was seen to speak */
	__u64 answers_ns;  /* all answers together, each from the last payload that was asked to the first that was answered */
	__u32 asked;       /* how often the asking end began to speak; each time but the last was answered */
	__u32 slowest_us;  /* the longest of the answers */
	__u32 answers_us[RECENT_ANSWERS]; /* the newest; that to question n stands at n modulo their number */
	/* What stands in the way of a connection that is alive, from tcp_sock; zero in events, and where sending is 0. */
	__u32 unread_bytes;   /* received, and not read by the process: rcv_nxt - copied_seq, without a FIN */
	__u32 unacked_bytes;  /* written by the process, and not acknowledged: write_seq - snd_una */
	__u32 unsent_bytes;   /* written by the process, and not sent: write_seq - snd_nxt */
	__u32 window_bytes;   /* snd_wnd: what the far end allows */
	__u32 mss_bytes;
	__u32 cwnd;           /* snd_cwnd: segments */
	__u32 ssthresh;       /* segments; 0x7fffffff: none yet */
	__u32 out_of_order;   /* segments that came before others that were missing */
	__u32 busy_jiffies;   /* how long there was anything to send, until time_ns: and nothing held it back, */
	__u32 rwnd_jiffies;   /* or the window of the far end did, */
	__u32 sndbuf_jiffies; /* or the size of the send buffer did */
	__u32 for_jiffies;    /* how long it has been as `sending` says */
	__u8 asker;        /* SPEAKER_* who connected, as far as the kernel side knows */
	__u8 speaker;      /* SPEAKER_* who has sent payload last */
	__u8 sending;      /* SENDING_* */
	__u8 retries;      /* icsk_retransmits: how often in a row a time-out has made it send again */
	__u8 backoff;      /* icsk_backoff: how often the time-out was doubled; counts probes of a shut window too */
	__u8 requester;    /* SPEAKER_* who sends requests of HTTP; what follows is zero where nobody does (bpf/requests.c) */
	__u8 request_waits; /* one that was handed on has no answer; not of HTTP/2 */
	__u8 http2;        /* HTTP2_* */
	__u32 requests;    /* since the connection was first seen; all of these modulo 2^32 */
	__u32 responses;   /* final ones; of HTTP/2: streams that the answering end has ended */
	__u32 failed_4xx;
	__u32 failed_5xx;
	__u32 slowest_request_us; /* from its first byte to the first of its response; not of HTTP/2 */
	__u32 requests_unlisted;  /* of HTTP/2: those of which frames were not handed on */
};
_Static_assert(sizeof(struct socket_record) == 392, "socket_record");
#define SOCKET_RECORD_HEAD_BYTES 272 /* what all sockets have */

#define SOCKETS_ASKED 16 /* a power of two */

/* What the reader asks for, and the records that come back: of those of the sockets that have changed. */
struct asked_sockets {
	__u32 asked;
	__u32 reported;
	__u64 sockets[SOCKETS_ASKED];
	struct socket_record records[SOCKETS_ASKED];
};
_Static_assert(sizeof(struct asked_sockets) == 6408, "asked_sockets");

/*
 * A listener carries no payload: what it has instead lies in the fields of the counters. Each field of its own would be
 * read for every connection too.
 */
#define listener_group tx_bytes        /* kernel address of its group of SO_REUSEPORT; 0 none */
#define listener_queue_limit rx_bytes  /* sock.sk_max_ack_backlog: connections; one more fits */
#define listener_queue srtt_us8        /* sock.sk_ack_backlog: connections that wait for accept() */
#define listener_syn_queue retransmits /* inet_connection_sock.icsk_accept_queue.qlen: handshakes under way */
#define listener_kept_dropped error    /* rx_dropped, before the entry was made */

/* What the iterator over open files writes: a process holds a listener. */
struct holder_record {
	__u64 socket; /* with seen_ns as in socket_record */
	__u64 seen_ns;
	struct process_id holder;
};
_Static_assert(sizeof(struct holder_record) == 48, "holder_record");

/* What a record in dns_events tells. */
#define DNS_MESSAGE 0
#define DNS_REFUSED 1        /* ICMP said to a connected UDP socket that nobody serves at server_address */
#define DNS_ANSWER_DROPPED 2 /* the socket had no room for the answer with this txid that was told just before */

/* Of a DNS query that a look-up sends: identity of that, as in struct lookup_record. */
struct dns_lookup {
	__u64 time_ns; /* 0: none that is known */
	__u32 thread;
	__u32 pad;
};
_Static_assert(sizeof(struct dns_lookup) == 16, "dns_lookup");

/* Head of a record in dns_events. After a DNS_MESSAGE the packet follows from its IP header on, captured_bytes of payload. */
struct dns_packet {
	__u64 time_ns;
	__u64 socket_cookie;
	struct process_id owner; /* the asking process; zero in answers */
	__u32 netns;
	__u32 tcp_seq;           /* sequence number of the first payload byte; 0 for UDP */
	__u32 payload_bytes;     /* as on the wire */
	__u32 captured_bytes;
	__u16 payload_offset;    /* from the IP header */
	__u16 client_port;
	__u16 server_port;
	__u16 txid;              /* of DNS_ANSWER_DROPPED */
	__u8 query;              /* 1: leaves this host for a DNS port, 0: comes back from one */
	__u8 kind;               /* DNS_MESSAGE and so on */
	__u8 protocol;
	__u8 ip_version;
	__u8 has_lookup;         /* 1: struct dns_lookup follows; only with --lookups, or else every record would be larger */
	__u8 pad;
	__u16 via_port;          /* of a query: where the packet goes, if the connection tracker knows of it; else 0 */
	__u8 client_address[ADDRESS_BYTES];
	__u8 server_address[ADDRESS_BYTES]; /* as the socket has it: what was asked, before NAT, and what answers, after */
	__u8 via_address[ADDRESS_BYTES];
#ifdef LOOKUPS
	struct dns_lookup lookup;
#endif
};
#ifdef LOOKUPS
_Static_assert(sizeof(struct dns_packet) == 144, "dns_packet");
#else
_Static_assert(sizeof(struct dns_packet) == 128, "dns_packet");
#endif

/* The functions of a C library that look names up. */
#define LOOKUP_GETADDRINFO 1
#define LOOKUP_GETHOSTBYNAME 2
#define LOOKUP_GETHOSTBYNAME2 3
#define LOOKUP_GETHOSTBYNAME_R 4
#define LOOKUP_GETHOSTBYNAME2_R 5

/* How a look-up has ended, as far as is known. */
#define LOOKUP_OPEN 0
#define LOOKUP_RETURNED 1
#define LOOKUP_ABANDONED 2 /* its thread has ended, or left the function without returning (longjmp(3)) */
#define LOOKUP_UNSEEN 3    /* returns are not looked at on this kernel */

#define LOOKUP_NAME_BYTES 256 /* of a domain name 253, RFC 1035 section 2.3.4, and NUL */
#define LOOKUP_ADDRESSES 16
#define LOOKUP_ADDRESSES_BYTES 256
#define LOOKUP_FAILED 4294967295 /* result of a function that does not say why */
#define LOOKUP_NO_ROOM 4294967294 /* its caller's buffer was too small: it will ask again */

/*
 * A look-up that has ended, or (LOOKUP_OPEN) one whose first query follows. `time_ns` is when it began, so that among records in
 * order of time it comes before the queries that it sends; with `thread` it is its identity.
 */
struct lookup_record {
	__u64 time_ns;
	struct process_id owner;
	__u64 lasted_ns;
	__u32 thread;
	__u32 netns;
	__u32 result;   /* of getaddrinfo what it returned (EAI_*, negative), of the others h_errno, netdb.h; 0: found */
	__u32 queries;  /* DNS messages that its thread has sent meanwhile */
	__u8 function;  /* LOOKUP_GETADDRINFO and so on */
	__u8 end;       /* LOOKUP_OPEN and so on */
	__u8 found;     /* how many of `addresses` there are */
	__u8 found_more; /* 1: more than those */
	__u8 listed;    /* 1: a query of it was handed on, which has its identity */
	__u8 pad[3];
	char name[LOOKUP_NAME_BYTES];
	__u8 addresses[LOOKUP_ADDRESSES_BYTES]; /* LOOKUP_ADDRESSES; IPv4 as IPv4-mapped IPv6 */
};
_Static_assert(sizeof(struct lookup_record) == 584, "lookup_record");

#define OPEN_LOOKUP_HEAD_BYTES 40 /* in front of the record in a value of the map `open_lookups`: the kernel side's own */

#define LIBRARY_NAME_BYTES 32

/* What the iterator over mappings writes: a process has code of a file mapped that is called as C libraries are. */
struct library_record {
	__u64 inode;
	__u64 begins; /* where in the process, and where that ends */
	__u64 ends;
	struct process_id owner;
	__u32 device; /* super_block.s_dev */
	__u32 file_system; /* super_block.s_magic */
	__u8 executable; /* 1: it is the program that the process runs */
	__u8 pad[7];
	char name[LIBRARY_NAME_BYTES];
};
_Static_assert(sizeof(struct library_record) == 104, "library_record");

/* What a record in http_events tells. */
#define HTTP_REQUEST 1
#define HTTP_RESPONSE 2
#define HTTP_REST 3 /* what follows the captured bytes of the request with this number */
#define TLS_CLIENT_HELLO 4 /* of TLS: hellos, and the alert that ends a handshake; all in the clear */
#define TLS_SERVER_HELLO 5
#define TLS_ALERT 6
#define TLS_REST 7 /* what follows the captured bytes of a hello in this direction */
#define HTTP2_FRAMES 8 /* of HTTP/2: those of a segment that heads are made of or that end a stream, one after the other */
#define QUIC_INITIAL 9 /* of QUIC: a datagram, or several (GSO), of which the first begins with an Initial packet */

/* What is known of HTTP/2 on a connection. */
#define HTTP2_SPOKEN 1
#define HTTP2_PARTIAL 2 /* something was missed: there may be more requests than were counted */
#define HTTP2_JOINED 4  /* its beginning was not seen, and no answer yet */
#define HTTP2_LEFT_OUT 8 /* frames were not handed on */
#define HTTP2_ASKS 16   /* of frames: the client sent them */

#define DATABASE_REQUEST 10 /* of a database or cache: a segment with requests, from the first one on */
#define DATABASE_ANSWER 11
/*
 * What is said inside TLS. The payload is plaintext and follows the head at once; `prefix` has the address of the library's session
 * and when that was seen first, which are its identity; the socket is 0 where it is not known.
 */
#define PLAINTEXT_REQUEST 12
#define PLAINTEXT_RESPONSE 13
#define PLAINTEXT_PIPELINED 14 /* a request that came before the answer to the one before: which answer is whose is not certain */
#define PLAINTEXT_ENDED 15     /* the session, while requests waited or of HTTP/2; with HTTP2_LEFT_OUT they may have been answered */
#define PLAINTEXT_FRAMES 16    /* as HTTP2_FRAMES; payload_bytes are how many requests the session has had. None: some were left out */
#define PLAINTEXT_ANSWER_BYTES 256 /* that are handed on */

/* Which it is, */
#define DATABASE_KINDS 7
#define DATABASE_POSTGRESQL 1
#define DATABASE_MYSQL 2
#define DATABASE_REDIS 3
#define DATABASE_MEMCACHED 4
/* and what is known of it on a connection. */
#define DATABASE_PARTIAL 8   /* there may be more requests than were counted, or more that failed */
#define DATABASE_LISTED 16   /* some were handed on */
#define DATABASE_OVERLAPS 32 /* the client asked again before the answer had come */
#define DATABASE_FOLLOWED 64 /* the last one was handed on, and so is its answer */
#define DATABASE_BEGINS 128  /* of requests: nothing waits for an answer before them */

/*
 * Head of a record in http_events: the first bytes of a message of HTTP/1, or of TLS. The packet follows from its IP header on, with
 * captured_bytes of the payload. Frames follow without the packet. Of QUIC the addresses are as in struct udp_flow_key, and
 * there are no more than that, the ports and the socket.
 */
struct http_head {
	__u64 time_ns;
	__u64 socket;  /* with seen_ns as in socket_record; 0: a request for a socket that is only being made */
	__u64 seen_ns;
	struct process_id owner; /* zero where it is not known */
	__u32 netns;
	__u32 seq;     /* sequence number of the first byte of the message; of frames: among all such bytes of this direction */
	__u32 number;  /* of the request on its connection, or of the one that is answered; of frames: bytes of one that began before; of QUIC: of each datagram, 0: there is one */
	__u32 payload_bytes;
	__u32 captured_bytes;
	__u16 payload_offset;
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__u8 kind;     /* HTTP_*, TLS_*, DATABASE_*, PLAINTEXT_* */
	__u8 egress;
	__u8 owner_certainty;
	__u8 requests; /* of HTTP and databases: how many begin in this segment, or are answered there, and have the numbers that follow */
	__u8 prefix_bytes; /* of `prefix`, which came in segments before */
	__u8 http2;    /* HTTP2_* of frames, DATABASE_* of a database; without a kind it is none after all */
	__u8 pad[6];
	__u8 prefix[ADDRESS_BYTES];
	__u8 local_address[ADDRESS_BYTES];
	__u8 remote_address[ADDRESS_BYTES];
};
_Static_assert(sizeof(struct http_head) == 144, "http_head");

#define EXEC_ARGUMENT_BYTES 512

#define PROCESS_EXEC 1
#define PROCESS_EXIT 2
#define PROCESS_EXEC_CUT 3 /* PROCESS_EXEC of which argv is longer than what is copied */
#define CGROUP_MADE 4      /* no process: one of the two ids below is not 0, and its path stands for the arguments */

/*
 * A program was executed, or the last thread of a process has gone. arguments_bytes of argv follow the head. The cgroups are
 * those that the process is in, by their ids, which are also the inode numbers of their directories.
 */
struct process_event {
	__u64 time_ns;
	struct process_id owner;
	__u64 cgroup;    /* in cgroup2 */
	__u64 cgroup_v1; /* in the hierarchy that has the controller pids: means something only where that is one of cgroup v1 */
	__u32 kind;
	__u32 arguments_bytes; /* copied; NUL after each argument */
	char arguments[EXEC_ARGUMENT_BYTES];
};
_Static_assert(sizeof(struct process_event) == 576, "process_event");
#define PROCESS_EVENT_HEAD_BYTES 64

/* Key and value of the map `unlisted`: sockets whose ends were counted by process instead of being listed one by one. */
struct unlisted_key {
	__u64 start_boot_ns;
	__u32 pid;
	__u32 netns;
	__u32 generation; /* as controls[GENERATION] was: nettop reads and empties one while the other is being filled */
	__u16 port;       /* of accepted connections that of the listener, and its family; 0 of anything else */
	__u16 family;
};
_Static_assert(sizeof(struct unlisted_key) == 24, "unlisted_key");

struct unlisted {
	struct process_id owner;
	__u64 queries; /* of UDP sockets, with their payload */
	__u64 answered;
	__u64 failed;
	__u64 udp_tx_bytes;
	__u64 udp_rx_bytes;
	__u64 udp_rx_dropped; /* datagrams */
	__u64 opened; /* TCP connections, with their payload and segments sent again */
	__u64 accepted;
	__u64 tcp_tx_bytes;
	__u64 tcp_rx_bytes;
	__u64 retransmits;
	__u64 asked;    /* turns of the connections that were opened, */
	__u64 was_asked; /* and of those that were accepted */
	__u64 failed_connects; /* those of `opened` that never were established */
	__u64 requests; /* of HTTP/1 on the connections that were opened, */
	__u64 requests_failed; /* those that were answered with 4xx or 5xx, or not at all, */
	__u64 requests_failed_4xx;
	__u64 requests_failed_5xx;
	__u64 served;   /* and the same of those that were accepted */
	__u64 served_failed;
	__u64 served_failed_4xx;
	__u64 served_failed_5xx;
};
_Static_assert(sizeof(struct unlisted) == 208, "unlisted");

/* What is counted in `drops` and `strays`, and what `reason` is then. */
#define PACKET_DROPPED 0 /* enum skb_drop_reason */
#define RESET_SENT 1     /* enum sk_rst_reason, or REASON_UNTOLD */
#define RESET_RECEIVED 2 /* 0 */
#define ICMP_SENT 3      /* ICMP type << 8 | code, RFC 792 */
#define ICMP_RECEIVED 4  /* errno that it became */

#define REASON_UNTOLD 4294967295 /* the kernel gives none, before Linux 6.12 */

/*
 * Key of the maps `drops` and `owner_drops`: what happened to packets of a socket that `sockets` has, or had; in the
 * latter, of all those of one process for which the former had no room.
 */
struct drop_key {
	__u64 socket;  /* or pid */
	__u64 seen_ns; /* with the socket, its identity; or start_boot_ns */
	__u32 reason;
	__u32 kind;    /* PACKET_DROPPED and so on */
	__u64 generation; /* as in struct unlisted_key */
};
_Static_assert(sizeof(struct drop_key) == 32, "drop_key");

struct drop_count {
	struct process_id owner; /* of the socket; zero: not known, or not one alone */
	__u64 packets; /* as the kernel handles them: several segments in one (GSO, GRO) are one */
	__u32 netns;
	__u32 pad;
};
_Static_assert(sizeof(struct drop_count) == 48, "drop_count");

/* Key of the map `strays`, whose values are numbers of packets too: the same of packets that no known socket has. */
struct stray_key {
	__u8 remote_address[ADDRESS_BYTES]; /* who sent it; of a packet that was made here, to whom */
	__u32 netns;
	__u32 reason;
	__u8 kind;
	__u8 ip_version;
	__u8 pad[6];
	__u64 generation;
};
_Static_assert(sizeof(struct stray_key) == 40, "stray_key");
/* Key and value of the map `udp_flows`: what a UDP socket exchanged with others than its entry's remote_address. */
struct udp_flow_key {
	__u64 socket;
	__u64 seen_ns; /* of the socket's entry */
	__u8 address[ADDRESS_BYTES]; /* IPv4 as IPv4-mapped IPv6 */
	__u16 port;
	__u8 pad[6];
};
_Static_assert(sizeof(struct udp_flow_key) == 40, "udp_flow_key");

struct udp_flow {
	__u64 tx_bytes;
	__u64 rx_bytes;
	__u64 tx_packets; /* datagrams */
	__u64 rx_packets;
};
_Static_assert(sizeof(struct udp_flow) == 32, "udp_flow");

/* Key and value of the map `packet_sources`: what a network interface received from an address. */
struct packet_source {
	__u32 netns;
	__u32 ifindex;
	__u8 address[ADDRESS_BYTES]; /* IPv4 as IPv4-mapped IPv6 */
};
_Static_assert(sizeof(struct packet_source) == 24, "packet_source");

struct source_packets {
	__u64 packets; /* as on the wire: a bundle (GRO) counts as what it was made of */
	__u64 bytes;   /* from the IP header on */
	__u64 syns;    /* TCP segments with SYN and without ACK */
	char interface[INTERFACE_BYTES];
};
_Static_assert(sizeof(struct source_packets) == 40, "source_packets");

/* --allow-cut: key and value of the map `blocks`, which nettop writes. The unused fields of a key are 0. */
#define BLOCK_PROCESS 1 /* number: pid (tgid), id: task_struct.start_boottime of the group leader */
#define BLOCK_CGROUP 2  /* id: of the cgroup (cgroup2); whoever is in one below it is in it too */
#define BLOCK_REMOTE 3  /* number: inode number of the network namespace, address: IPv4 as IPv4-mapped IPv6 */
struct block_key {
	__u64 id;
	__u32 kind;
	__u32 number;
	__u8 address[ADDRESS_BYTES];
};
_Static_assert(sizeof(struct block_key) == 32, "block_key");

struct block {
	__u64 until_ns;
	__u64 refused; /* connections and datagrams */
};
_Static_assert(sizeof(struct block) == 16, "block");

/* The only element of the array `armed`: which kinds of keys there are, and of cgroups at which depths. */
#define BLOCKS_PROCESS 1
#define BLOCKS_CGROUP 2
#define BLOCKS_REMOTE 4
#define BLOCKS_LEVEL 8   /* shifted to the left by the depth of a cgroup; that of the root is 0 */
#define CGROUP_LEVELS 12 /* the deepest that can be blocked; systemd's own are at 6 and less */

/* The only element of the array `closing`: which connection to end, by address and seen_ns, and what came of it. */
struct closing {
	__u64 socket;
	__u64 seen_ns;
	__u64 verdict;
};
_Static_assert(sizeof(struct closing) == 24, "closing");
#define CLOSING_NOT_FOUND 0
#define CLOSING_DONE 1
#define CLOSING_REFUSED 2
#define CLOSING_SUBFLOW 3 /* of a connection of Multipath TCP */

/*
 * Head of a record in the ring buffer `spilled`: the record of a perf buffer that had no room for it on this CPU follows.
 * What lies behind the record is noise.
 */
struct spilled_head {
	__u64 buffer; /* its LOST_* below */
};
_Static_assert(sizeof(struct spilled_head) == 8, "spilled_head");

/* Index into the array `controls`, which nettop writes. */
#define PASS 0       /* over the sockets: none is being made, or one of these */
#define GENERATION 1 /* which half of `unlisted` is being filled: 0 or 1 */
#define QUERY_INTERVAL_NS 2 /* between two queries that are listed; 0: every one is */
#define END_INTERVAL_NS 3   /* the same of ends of connections, and of UDP sockets */
#define LISTED_AT_ONCE 4    /* so many more may come at a time before the interval counts */
#define SCAN 5              /* number of the scan of open files that is being made, or was last */
#define PIDS_HIERARCHY 6    /* id of the cgroup v1 hierarchy that has the controller pids; 0: there is none */
#define SCOPE_CGROUPS 7     /* what of IN_UNIT and IN_CONTAINER a process in scope must be */
#define REQUEST_INTERVAL_NS 8 /* between two requests of HTTP that are listed; 0: every one is */
#define CONTROLS 9

#define PASS_CHANGED 1 /* reports the sockets that changed since the last pass */
#define PASS_ALL 2     /* reports every socket, because events were lost and nettop must find out which are gone */

/* Index into the array `losses`: what the kernel side could not deliver, counted since the start. */
#define LOST_TCP_EVENTS 0
#define LOST_UDP_EVENTS 1
#define LOST_DNS_EVENTS 2
#define LOST_PROCESS_EVENTS 3
#define LOST_HTTP_EVENTS 4
#define SOCKETS_MAP_FULL 5
#define UDP_UNATTRIBUTED_BYTES 6 /* UDP payload of sockets that are not in the map */
#define OLDER_WITHOUT_ROOM 7     /* sockets that the iterator over open files found no room for: in every pass again */
#define DNS_UNASKED 8              /* answers over UDP that no question waited for, beyond those that are handed on */
#define DNS_REPEATS 9              /* questions sent again that no row counts, because they came too fast */
#define DNS_LEFT_OUT 10             /* segments of DNS over TCP and messages of multicast DNS, likewise */
#define DNS_QUESTIONS_PUSHED_OUT 11 /* of the table of those that wait for an answer */
#define DROPS_WITHOUT_ROOM 12       /* packets that these maps had no room to count */
#define TURNS_WITHOUT_ROOM 13       /* connections whose turns are not followed */
#define PACKETS_WITHOUT_HOST 14 /* received from addresses that packet_sources had no room for */
#define HANDSHAKES_LEFT_OUT 15  /* of TLS, that came too fast to be handed on */
/* Of HTTP, that are counted only: for each CPU (modulo so many) in a cache line of its own, or each request would wait for it. */
#define REQUESTS_UNLISTED 16 /* and on to LOST_LOOKUP_EVENTS */
#define REQUESTS_UNLISTED_APART 8
#define REQUESTS_UNLISTED_CPUS 16
#define LOST_LOOKUP_EVENTS 144
#define LOOKUPS_UNLISTED 145     /* that came too fast to be handed on */
#define LOOKUPS_WITHOUT_ROOM 146 /* too many at the same time */
#define TLS_CALLS_WITHOUT_ROOM 147 /* too many at the same time */
#define TLS_HTTP2_SESSIONS 148     /* of which nothing is read any more, because something was missed */
#define LOSS_COUNTERS 149

#endif
