// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
//
// Three programs of the eBPF diversion, which the kernel runs for each packet:
//
//   tun0, vpns*   ──▶ entry ──┬─ certain to be forwarded ──────────────▶ the stack, as if nothing were here
//   ▲                         └─ everything else ──▶ offramp0 ──▶ filter (userspace): forward or drop
//   └──── marked ◀── leave ◀─────────────────────────── offramp0 ◀── what it forwards
//
// A packet passes if every packet with its addresses, protocol and ports is forwarded, which the filter's tables say;
// whatever is not plain goes to the filter. It clears flows that these tables leave open, and is not media, and their
// packets pass as well. What returns is marked, and enters once more at the interface that it came from.

#include "maps.h"

#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>

char license_of_program[] SEC("license") = "Dual MIT/GPL";

static __always_inline struct control *shared(void)
{
    __u32 first = 0;
    return bpf_map_lookup_elem(&control, &first);
}

// `number` below `bound`, a power of two. The compiler must not do it by halves of registers: the verifier of Linux 5.10
// does not see then that a number has a lower bound, too.
static __always_inline __u64 below(__u64 bound, __u64 number)
{
    asm volatile("" : "+r"(number));
    number &= bound - 1;
    asm volatile("" : "+r"(number));
    return number;
}

static __always_inline __u32 cell(__u32 base, __u32 row, __u64 at)
{
    __u32 key = base + row;
    struct row *found = bpf_map_lookup_elem(&rows, &key);
    return found ? found->cells[at] : 0;
}

// Follows `bytes` from `row` to a cell with a result; 0 without one.
static __always_inline __u32 lookup(__u32 base, __u32 row, const __u8 *bytes, int count)
{
#pragma unroll
    for (int at = 0; at < count; at++) {
        __u32 found = cell(base, row, bytes[at]);
        if (found & RESULT)
            return found & ~RESULT;
        row = found;
    }
    return 0;
}

static __always_inline __u32 of_class(__u32 base, __u32 class, __u32 at)
{
    __u32 number = (class & ~CLIENT) * CLASS_CELLS + at;
    return cell(base, CLASS_ROOT + number / ROW, below(ROW, number));
}

// The counter of packets that the filter would forward for certain; 0: let it judge.
static __always_inline __u32 certain(__u32 base, __u32 source, __u32 destination, __u8 protocol, const __u8 *ports)
{
    if (!(source & CLIENT)) {
        __u32 found = of_class(base, source, 0);
        return found & RESULT ? found & ~RESULT : 0;
    }
    __u32 found = of_class(base, destination, protocol == TCP ? 1 : protocol == UDP ? 2 : 3);
    if (found & RESULT)
        return found & ~RESULT;
    return lookup(base, found, ports + 2, 2);
}

// Counts a packet as what it is on the wire: a super-packet of TCP or UDP as its segments, each with headers of its own.
static __always_inline void count(struct __sk_buff *skb, __u32 link, __u8 protocol, __u32 counter)
{
    __u32 key = bpf_get_smp_processor_id() * COUNTERS + counter;
    struct traffic *traffic = bpf_map_lookup_elem(&counters, &key);
    if (!traffic)
        return;
    __u64 packets = 1, bytes = skb->len - link;
    __u32 segment = skb->gso_size;
    if (segment && protocol) {
        __u32 headers = skb->protocol == bpf_htons(IPV4) ? 20 : 40;
        __u8 offset = 0;
        if (protocol == UDP)
            headers += 8;
        else if (!bpf_skb_load_bytes(skb, link + headers + 12, &offset, 1))
            headers += (offset >> 4) * 4; // RFC 9293 §3.1: data offset
        if (bytes > headers) {
            packets = (bytes - headers + segment - 1) / segment;
            bytes += (packets - 1) * headers;
        }
    }
    traffic->packets += packets;
    traffic->bytes += bytes;
}

// Leads a packet to the filter's device, with the interface that it entered in its Ethernet header.
static __always_inline int redirect(struct __sk_buff *skb, __u32 link, __u16 tag, __u8 note)
{
    __be16 protocol = skb->protocol;
    if (!link && bpf_skb_change_head(skb, ETHERNET, 0))
        return PASS;
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethernet *header = data;
    if ((void *)(header + 1) > end)
        return PASS;
    header->tag = tag;
    header->interface = skb->ingress_ifindex;
    if (!link)
        header->protocol = protocol;
    if (tag == PROBE_TAG)
        header->source[0] = note;
    return bpf_redirect(DEVICE, 0);
}

// The queue of a flow.
static __always_inline struct queue *queue_of(struct control *control, __u32 flow)
{
    __u32 number = QUEUES == 1 ? 0 : flow % QUEUES;
    return &control->queues[below(MAX_QUEUES, number)]; // which proves to the verifier that it is one
}

// True unless the packet could overtake one of its flow that was diverted before a reload.
static __always_inline int may_pass(struct control *control, __u32 flow)
{
    struct queue *queue = queue_of(control, flow);
    if (!READ(queue->settling))
        return 1;
    if (READ(queue->diverted) != READ(queue->settled))
        return 0;
    READ(queue->settling) = 0;
    return 1;
}

static __always_inline __u32 now(void)
{
    return (COARSE ? bpf_ktime_get_coarse_ns() : bpf_ktime_get_ns()) >> 20;
}

// The flow with this key, if it was cleared and has not lapsed.
static __always_inline struct cleared *find(const __u64 *key, __u32 time)
{
    __u64 sum = key[0] + key[1] * 0xd6e8feb86659fd93 + key[2] * 0xa0761d6478bd642f + key[3] * 0xe7037ed1a0b428db +
                key[4] * 0x8ebc6af09c88c6e3;
    __u64 hash = (sum ^ sum >> 32) * 0x9e3779b97f4a7c15;
#pragma unroll
    for (int choice = 48; choice >= 32; choice -= 16) {
        __u32 number = hash >> choice & (FLOW_SETS - 1);
        struct flow_set *set = bpf_map_lookup_elem(&flows, &number);
        if (!set)
            return 0;
#pragma unroll
        for (int way = 0; way < FLOW_WAYS; way++) {
            struct cleared *flow = &set->ways[way];
            __u64 nonce = READ(flow->nonce), differs = 0;
            if (!nonce || (READ(flow->key[0]) ^ nonce) != key[0])
                continue;
            for (int at = 1; at < 5; at++)
                differs |= READ(flow->key[at]) ^ nonce ^ key[at];
            if (!differs && (__s32)(time - flow->seen) < FLOW_IDLE)
                return flow;
        }
    }
    return 0;
}

// True if a packet of a cleared flow is for the filter all the same, since it begins another connection, or a datagram has
// the cookie of STUN, by itself or in a frame of TURN; `at` is its transport header.
static __always_inline int is_new(struct __sk_buff *skb, __u32 at, __u8 protocol)
{
    if (protocol == TCP) {
        __u8 flags = SYN;
        bpf_skb_load_bytes(skb, at + 13, &flags, 1);
        return flags & SYN;
    }
    at += 8;
    __u32 segment = skb->gso_size, words[4];
    for (int datagrams = 0; datagrams < 128; datagrams++) {
        if (bpf_skb_load_bytes(skb, at + 4, words, sizeof(words)))
            return 0; // too short for it
        if (words[0] == STUN_COOKIE || words[1] == STUN_COOKIE || words[3] == STUN_COOKIE)
            return 1;
        if (!segment)
            return 0;
        at += segment;
    }
    return 1;
}

// True if a packet of a cleared flow may pass: the filter has forwarded all that it was handed of it, or does not catch up.
static __always_inline int goes_on(struct __sk_buff *skb, struct queue *queue, struct cleared *flow, __u32 at,
                                   __u8 protocol, __u32 time)
{
    if (is_new(skb, at, protocol)) {
        flow->seen = time;
        if (protocol == TCP)
            READ(flow->nonce) = 0;
        return 0;
    }
    if (READ(queue->settled) < READ(flow->after) && (__s32)(time - flow->seen) < HAND_OVER)
        return 0;
    if (READ(flow->after))
        READ(flow->after) = 0;
    if ((__s32)(time - flow->seen) > SECOND)
        flow->seen = time;
    return 1;
}

// Leads a packet to the filter, unless its worker hangs; `cleared` is its flow, if it was cleared.
static __always_inline int divert(struct __sk_buff *skb, struct control *control, __u32 link, __u32 flow,
                                  struct cleared *cleared)
{
    struct queue *queue = queue_of(control, flow);
    __u64 since = READ(queue->waiting_since);
    __u64 now = bpf_ktime_get_ns();
    if (!since) {
        READ(queue->waiting_since) = now;
    } else if (now > since && now - since > PATIENCE && !control->closed) {
        count(skb, link, 0, UNREAD_PASSED);
        return PASS;
    }
    __sync_fetch_and_add(&queue->diverted, 1);
    if (cleared)
        READ(cleared->after) = READ(queue->diverted);
    return redirect(skb, link, TAG, 0);
}

// A hash of both addresses: all packets of a flow have the same, also its fragments. Each of its bits depends on each of theirs.
static __always_inline __u32 mix(__u32 sum)
{
    return sum * 0x9e3779b97f4a7c15 >> 32;
}

static __always_inline __u32 word(const __u8 *bytes)
{
    return *(const __u32 *)bytes;
}

static __always_inline __u32 flow_of_ipv6(const struct ipv6 *ip)
{
    __u32 sum = 0;
#pragma unroll
    for (int at = 0; at < 16; at += 4)
        sum = sum * 31 + (word(ip->source + at) ^ word(ip->destination + at) * 7);
    return mix(sum);
}

static __always_inline __u32 flow_of_ipv4(const struct ipv4 *ip)
{
    return mix(word(ip->source) ^ word(ip->destination) * 7);
}

// True if no router forwards the packet, by its source (fe80::/10) or its destination (ff01::/16, ff02::/16): neighbor
// discovery of an Ethernet interface, for one. RFC 4291 §2.5.6 and §2.7.
static __always_inline int is_of_link(const struct ipv6 *ip)
{
    return (ip->source[0] == 0xfe && (ip->source[1] & 0xc0) == 0x80) ||
           (ip->destination[0] == 0xff && (ip->destination[1] & 0x0f) <= 2);
}

static __always_inline int entry(struct __sk_buff *skb, const __u32 link)
{
    __u32 mark = skb->mark, is_probe = mark == MARK + 1;
    if (mark == MARK || is_probe)
        skb->mark = 0;
    if (mark == MARK)
        return PASS;
    __u32 protocol = skb->protocol;
    // Of Ethernet, frames for another VLAN are another interface's, and those for many or for others are not forwarded.
    if ((protocol != bpf_htons(IPV4) && protocol != bpf_htons(IPV6)) ||
        (link && (skb->vlan_present || skb->pkt_type != 0)))
        return PASS;
    struct control *control = shared();
    if (!control)
        return PASS;
    if (control->bypass && !is_probe) {
        count(skb, link, 0, BYPASSED);
        return PASS;
    }

    __u64 tables = READ(control->tables); // once: all parts are of one generation
    __u64 key[5] = {};
    __u32 base = FIRST_ROW(tables), counter = 0, flow = 0;
    __u8 transport = 0;
    __u32 headers = link + (protocol == bpf_htons(IPV4) ? sizeof(struct ipv4) : sizeof(struct ipv6));
    if (skb->data + headers > skb->data_end)
        bpf_skb_pull_data(skb, headers);
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    __u32 length = skb->len - link;
    if (protocol == bpf_htons(IPV4)) {
        struct ipv4 *ip = data + link;
        if ((void *)(ip + 1) > end)
            return divert(skb, control, link, 0, 0);
        flow = flow_of_ipv4(ip);
        __u32 says = bpf_ntohs(ip->length);
        // Whole, without options, and as long as it says: src/packet/plain.rs.
        if (ip->version_and_length == 0x45 && !(ip->fragment & bpf_htons(0x3fff)) && says >= sizeof(*ip) &&
            says <= length) {
            __u32 source = lookup(base, ip->source[0], ip->source + 1, 3);
            __u32 destination = lookup(base, ip->destination[0], ip->destination + 1, 3);
            transport = ip->protocol;
            counter = certain(base, source, destination, transport, ip->ports);
            key[0] = word(ip->ports);
            key[1] = (__u64)word(ip->source) << 32 | word(ip->destination);
        }
    } else {
        struct ipv6 *ip = data + link;
        if ((void *)(ip + 1) > end)
            return divert(skb, control, link, 0, 0);
        if (is_of_link(ip))
            return PASS;
        flow = flow_of_ipv6(ip);
        __u32 says = bpf_ntohs(ip->length);
        if (ip->version >> 4 == 6 && says >= 4 && says + 40 <= length &&
            (ip->next_header == TCP || ip->next_header == UDP || ip->next_header == ICMPV6)) {
            __u32 source = lookup(base, IPV6_ROOT, ip->source, 16);
            __u32 destination = lookup(base, IPV6_ROOT, ip->destination, 16);
            transport = ip->next_header;
            counter = certain(base, source, destination, transport, ip->ports);
            key[0] = word(ip->ports);
            for (int at = 0; at < 2; at++) {
                key[1 + at] = (__u64)word(ip->source + 8 * at) << 32 | word(ip->source + 8 * at + 4);
                key[3 + at] = (__u64)word(ip->destination + 8 * at) << 32 | word(ip->destination + 8 * at + 4);
            }
        }
    }
    if (is_probe)
        return redirect(skb, link, PROBE_TAG, counter != 0);
    if (counter && !may_pass(control, flow))
        return divert(skb, control, link, flow, 0);
    if (!counter) {
        struct cleared *cleared = 0;
        __u32 time = now();
        key[0] |= GENERATION(tables) | (__u64)transport << 32;
        if (transport == TCP || transport == UDP)
            cleared = find(key, time);
        if (!cleared || !goes_on(skb, queue_of(control, flow), cleared, headers - 4, transport, time))
            return divert(skb, control, link, flow, cleared);
        counter = cleared->counter;
    }
    count(skb, link, transport, FIRST_COUNTER(tables) + counter);
    return PASS;
}

// At an interface whose packets begin with the IP header: tun, WireGuard, PPP.
SEC("classifier")
int entry_ip(struct __sk_buff *skb)
{
    return entry(skb, 0);
}

// At an interface whose packets begin with an Ethernet header: tap, VLAN, veth.
SEC("classifier")
int entry_ethernet(struct __sk_buff *skb)
{
    return entry(skb, ETHERNET);
}

// At offramp0: leads what the filter forwards back to the interface that it came from.
SEC("classifier")
int leave(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethernet *header = data;
    if ((void *)(header + 1) > end || (header->tag != TAG && header->tag != PROBE_TAG))
        return TC_ACT_SHOT; // not of the filter: nothing else is to send here
    __u32 index = header->interface;
    skb->mark = header->tag == TAG ? MARK : MARK + 1;
    struct interface *interface = bpf_map_lookup_elem(&interfaces, &index);
    if (!interface)
        return TC_ACT_SHOT; // its interface is gone
    if (interface->has_ethernet)
        __builtin_memcpy(header, interface->address, sizeof(interface->address));
    return bpf_redirect(index, BPF_F_INGRESS);
}

// Chooses the queue of offramp0, and so the worker, as the entry program has noted it.
SEC("socket")
int steer(struct __sk_buff *skb)
{
    struct {
        __u8 bytes[40];
        __be16 protocol;
    } packet __attribute__((aligned(8)));
    if (bpf_skb_load_bytes(skb, 12, &packet.protocol, 2))
        return 0;
    if (packet.protocol == bpf_htons(IPV4)) {
        if (bpf_skb_load_bytes(skb, ETHERNET, packet.bytes, 20))
            return 0;
        return flow_of_ipv4((struct ipv4 *)packet.bytes) % QUEUES;
    }
    if (bpf_skb_load_bytes(skb, ETHERNET, packet.bytes, 40))
        return 0;
    return flow_of_ipv6((struct ipv6 *)packet.bytes) % QUEUES;
}
