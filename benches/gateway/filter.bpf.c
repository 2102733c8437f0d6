// The policy of the benchmark for tc: a longest-prefix-match map from address to the sets that hold it, and the rules in
// the order of the policy. IPv4 with plain headers; everything else passes. Compiled when the benchmark runs.
#include <linux/bpf.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const pull_data)(struct __sk_buff *packet, u32 length) = (void *)BPF_FUNC_skb_pull_data;

struct address {
    u32 length;
    u32 octets;
};

// Address to sets: a bit each, as below.
struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 65536);
    __type(key, struct address);
    __type(value, u32);
} sets SEC(".maps");

// Packets that were counted: to public services, dropped.
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 2);
    __type(key, u32);
    __type(value, u64);
} counters SEC(".maps");

enum { CLIENTS = 1, CORPORATE = 2, SERVERS = 4, PUBLICS = 8, ALLOWED = 16 };
enum { PUBLIC, DROPPED };
enum { TCP = 6, UDP = 17 };
enum { PASS = 0, SHOT = 2 };

static __attribute__((always_inline)) u32 sets_of(u32 octets)
{
    struct address key = { 32, octets };
    u32 *found = map_lookup(&sets, &key);
    return found ? *found : 0;
}

static __attribute__((always_inline)) int count(u32 which, int verdict)
{
    u64 *counter = map_lookup(&counters, &which);
    if (counter)
        *counter += 1;
    return verdict;
}

static __attribute__((always_inline)) int judge(struct __sk_buff *packet, u32 start)
{
    // IPv4 (RFC 791 section 3.1), and the ports of TCP and UDP behind it.
    const u32 needed = start + 24;
    u8 *bytes = (u8 *)(long)packet->data;
    if (bytes + needed > (u8 *)(long)packet->data_end) {
        if (pull_data(packet, needed))
            return PASS;
        bytes = (u8 *)(long)packet->data;
        if (bytes + needed > (u8 *)(long)packet->data_end)
            return PASS;
    }
    bytes += start;
    if (bytes[0] != 0x45)
        return PASS;
    if (!(sets_of(*(u32 *)(bytes + 12)) & CLIENTS))
        return PASS;
    u32 destination = sets_of(*(u32 *)(bytes + 16));
    if (destination & PUBLICS)
        return count(PUBLIC, PASS);
    if (bytes[9] != TCP && bytes[9] != UDP)
        return PASS;
    if (destination & SERVERS)
        return count(DROPPED, SHOT);
    u16 port = (u16)bytes[22] << 8 | bytes[23];
    if (destination & ALLOWED && port >= FIRST_ALLOWED && port <= LAST_ALLOWED)
        return PASS;
    if (port >= 1024 && destination & (CORPORATE | CLIENTS))
        return count(DROPPED, SHOT);
    return PASS;
}

// On a tun device a packet begins with its IP header, on a wire with that of Ethernet.
SEC("tc/tun") int tun(struct __sk_buff *packet) { return judge(packet, 0); }
SEC("tc/wire") int wire(struct __sk_buff *packet) { return judge(packet, 14); }
