// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Maps that the programs of the eBPF diversion share with the gateway (src/gateway/divert/ebpf/programs.rs), and headers.
//
// Tables are rows of 256 cells, in one array. A cell either ends the lookup or is the number of the row that the next
// byte selects a cell of: addresses are looked up byte by byte, and so are ports.
//
//   rows of one generation        cell
//   0..255   IPv4, by byte 1      ┌───┬────────────────────────┐
//   256      IPv6, byte 0         │ 0 │ number of the next row │
//   257..    classes, then others │ 1 │ result, 15 bits        │
//                                 └───┴────────────────────────┘

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// Set before the program is loaded.
const volatile __u32 DEVICE;   // index of offramp0
const volatile __u32 MARK;     // of packets that return; one more: of the self-test
const volatile __u32 QUEUES;  // of offramp0
const volatile __u32 COUNTERS; // of each CPU
const volatile __u64 PATIENCE; // nanoseconds until a worker that reads nothing counts as hung
const volatile __u32 COARSE;   // 1: the kernel has a clock that is cheap to read (Linux 5.11)

#define ROW 256
#define IPV6_ROOT 256
#define CLASS_ROOT 257
#define CLASS_CELLS 4 // of one class: for its sources, then for its destinations by TCP, UDP and other protocols
#define RESULT 0x8000 // a cell that ends the lookup
#define CLIENT 0x4000 // in the result of an address: it is a client's
#define MAX_QUEUES 256

struct row {
    __u16 cells[ROW];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1); // set when it is loaded, as for all maps
    __type(key, __u32);
    __type(value, struct row);
} rows SEC(".maps");

struct traffic {
    __u64 packets;
    __u64 bytes;
};

// Of each CPU in turn: two for packets that the filter did not see, then one for each verdict.
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct traffic);
} counters SEC(".maps");

enum { UNREAD_PASSED, BYPASSED };

// Written by the gateway, but for `waiting_since`.
struct control {
    __u64 tables; // in force, as below
    __u64 bypass; // 1: everything passes
    __u64 closed; // 1: what a hung worker should judge is not passed
    __u64 reserved[5];
    struct queue {
        __u64 waiting_since; // when the oldest of its packets that is not read was diverted; 0: none
        __u64 diverted;      // packets led to it so far
        __u64 settled;       // as many of them, the oldest, were read and written, or lost
        __u64 settling;      // 1: since a reload, packets that pass could overtake those that were diverted before
        __u64 reserved[4];   // a cache line of its own
    } queues[MAX_QUEUES];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct control);
} control SEC(".maps");

#define FIRST_ROW(tables) ((tables) & 0xfffff)
#define FIRST_COUNTER(tables) ((tables) >> 20 & 0xfffff)
#define GENERATION(tables) ((tables) >> 40 << 40)

// A flow that the filter has cleared: it would forward all of its packets, but for those of `is_new`.
struct cleared {
    __u64 nonce;   // random, or 0 without a flow
    __u64 key[5];  // XOR `nonce`, so that one half written is no flow: GENERATION | protocol | ports, addresses
    __u64 after;   // those of its packets that were diverted are settled once so many of its queue's are; 0: they are
    __u32 seen;    // when a packet passed last, or it was cleared, in 2^20 ns
    __u32 counter; // of its packets
};

// Written by the gateway, but for `after` and `seen`; a flow is in one of two sets. It is bounded, and evicts the oldest.
#define FLOW_SETS (1 << 15)
#define FLOW_WAYS 4
#define FLOW_IDLE ((__s32)(60ULL * 1000 * 1000 * 1000 >> 20)) // signed: clocks differ by a tick
#define HAND_OVER (100 * 1000 * 1000 >> 20) // longest wait for `after`: then packets pass that may overtake others, once
#define SECOND (1000 * 1000 * 1000 >> 20)

struct flow_set {
    struct cleared ways[FLOW_WAYS];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, FLOW_SETS);
    __type(key, __u32);
    __type(value, struct flow_set);
} flows SEC(".maps");

// Interfaces that packets may return to.
struct interface {
    __u8 address[6]; // its MAC address
    __u16 has_ethernet;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct interface);
} interfaces SEC(".maps");

struct ethernet {
    __u16 tag; // of the destination: ours
    __u32 interface;
    __u8 source[6];
    __be16 protocol;
} __attribute__((packed));

// Locally administered addresses, 02:0f:.. and 02:1f:.., so that nobody takes them for another's.
#define TAG bpf_htons(0x020f)
// Of the self-test: a packet of the gateway, which enters as a client's would, and is diverted whatever it is.
#define PROBE_TAG bpf_htons(0x021f)

// RFC 791 §3.1, and the first four bytes behind it.
struct ipv4 {
    __u8 version_and_length;
    __u8 service;
    __be16 length;
    __be16 id;
    __be16 fragment;
    __u8 ttl;
    __u8 protocol;
    __be16 checksum;
    __u8 source[4];
    __u8 destination[4];
    __u8 ports[4];
};

// RFC 8200 §3, and the first four bytes behind it.
struct ipv6 {
    __u8 version;
    __u8 flow[3];
    __be16 length;
    __u8 next_header;
    __u8 hop_limit;
    __u8 source[16];
    __u8 destination[16];
    __u8 ports[4];
};

#define TCP 6
#define UDP 17
#define ICMPV6 58

#define SYN 0x02
#define STUN_COOKIE bpf_htonl(0x2112a442) // RFC 8489 §5

#define ETHERNET 14
#define IPV4 0x0800
#define IPV6 0x86dd

#define READ(word) (*(volatile __u64 *)&(word))

// To programs of others at this interface, and then to the stack: TCX_NEXT on new kernels, the same number on old ones.
#define PASS TC_ACT_UNSPEC
