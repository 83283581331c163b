/* What benchmarks/engine.py measures the compiled engine against: the same work, written by hand.
 *
 * Frames behind our header: Ethernet, up to two VLAN tags, IPv4 or IPv6, TCP, UDP; the flow's key in canonical order;
 * a hash table with two passes of prefetching over a block of 64; firewall (rules scanned on a flow's first packet in a
 * direction, the answer kept), monitor (packets and octets in both directions) and balancer (backend by rendezvous
 * hashing on a flow's first packet, Ethernet target rewritten). No migration, no expiry, no records: a plain loop.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define BLOCK 64

struct key {
    u64 w[6];
};

struct flow {
    struct key key;
    int64_t last_ns;
    u32 packets;
    u8 initiator, closing, spare[2];
    /* firewall */
    u32 answers;
    u8 fw[4];
    /* monitor */
    u64 packets_ab, packets_ba, octets_ab, octets_ba, first_mark;
    /* balancer */
    u32 chosen;
    u8 to_service, asked, spare2[2];
} __attribute__((aligned(64)));

struct rule {
    u64 source_high, source_low, source_high_mask, source_low_mask;
    u64 target_high, target_low, target_high_mask, target_low_mask;
    u16 source_port_min, source_port_max, target_port_min, target_port_max, protocol;
    u8 source_version, target_version, connections, names_ports, answer, spare;
};

struct packet {
    struct key key;
    u64 tag;
    int64_t time;
    u64 mark;
    u32 start, l3, l4, payload, payload_end, length;
    u16 source_port, target_port;
    u8 version, protocol, flags, direction;
    u32 guess;
};

struct table {
    struct flow *flows;
    u64 *index;
    u64 mask;
    u32 used, flows_max;
    u64 secrets[6];
    const struct rule *rules;
    u32 rules_count;
    u8 fw_default;
    const u64 *backends;
    u32 backends_count;
    u32 service_address;
    u16 service_port;
    u64 dropped;
};

static inline u64 fold(u64 a, u64 b)
{
    __uint128_t p = (__uint128_t)a * b;
    return (u64)p ^ (u64)(p >> 64);
}

static inline u32 hash(const struct table *t, const struct key *k)
{
    u64 h = fold(k->w[0] ^ t->secrets[0], k->w[1] ^ t->secrets[1]) ^ fold(k->w[2] ^ t->secrets[2], k->w[3] ^ t->secrets[3]) ^
            fold(k->w[4] ^ t->secrets[4], k->w[5] ^ t->secrets[5]);
    return (u32)(h ^ h >> 32);
}

static inline u16 load16(const u8 *p)
{
    u16 v;
    memcpy(&v, p, 2);
    return v;
}

static inline u32 load32(const u8 *p)
{
    u32 v;
    memcpy(&v, p, 4);
    return v;
}

static inline u64 load64(const u8 *p)
{
    u64 v;
    memcpy(&v, p, 8);
    return v;
}

static inline int is_tag(u16 kind)
{
    return kind == 0x0081 || kind == 0xA888 || kind == 0x0091;
}

static inline int parse(struct packet *p, const u8 *data, u64 start, u64 end)
{
    if (end - start >= 16 && load16(data + start + 12) == 0xB588) {
        if (load16(data + start + 14) != 0x0100)
            return 0;
        start += 16;
    }
    if (end - start < 14)
        return 0;
    u16 kind = load16(data + start + 12), vlan = 0, inner = 0;
    u64 at = start + 14;
    if (is_tag(kind)) {
        if (end - at < 8)
            return 0;
        vlan = __builtin_bswap16(load16(data + at)) & 0xFFF, kind = load16(data + at + 2), at += 4;
        if (is_tag(kind))
            inner = __builtin_bswap16(load16(data + at)) & 0xFFF, kind = load16(data + at + 2), at += 4;
    }
    const u8 *ip = data + at;
    u64 payload_end;
    if (kind == 0x0008) {
        if (end - at < 20 || ip[0] >> 4 != 4)
            return 0;
        u32 header = (ip[0] & 15) * 4, total = __builtin_bswap16(load16(ip + 2));
        if (header < 20 || total < header || end - at < header || (load16(ip + 6) & 0xFF3F))
            return 0;
        p->version = 4, p->protocol = ip[9], p->l4 = at + header, payload_end = at + total;
    } else if (kind == 0xDD86) {
        if (end - at < 40 || ip[0] >> 4 != 6 || load16(ip + 4) == 0)
            return 0;
        p->version = 6, p->protocol = ip[6], p->l4 = at + 40;
        payload_end = at + 40 + __builtin_bswap16(load16(ip + 4));
    } else
        return 0;
    if (payload_end > end)
        payload_end = end;
    const u8 *l4 = data + p->l4;
    if (p->protocol == 6) {
        if (payload_end < p->l4 + 20)
            return 0;
        u32 header = (l4[12] >> 4) * 4;
        if (header < 20 || p->l4 + header > payload_end)
            return 0;
        p->payload = p->l4 + header, p->flags = l4[13];
    } else if (p->protocol == 17) {
        if (payload_end < p->l4 + 8)
            return 0;
        p->payload = p->l4 + 8, p->flags = 0;
    } else
        return 0;
    p->start = start, p->l3 = at, p->payload_end = payload_end;
    p->source_port = __builtin_bswap16(load16(l4)), p->target_port = __builtin_bswap16(load16(l4 + 2));
    int turned;
    u16 sp = load16(l4), tp = load16(l4 + 2);
    if (p->version == 4) {
        u64 forward = (u64)__builtin_bswap32(load32(ip + 12)) << 16 | p->source_port;
        u64 backward = (u64)__builtin_bswap32(load32(ip + 16)) << 16 | p->target_port;
        turned = forward > backward;
        p->key.w[0] = load32(ip + (turned ? 16 : 12)), p->key.w[1] = 0;
        p->key.w[2] = load32(ip + (turned ? 12 : 16)), p->key.w[3] = 0;
    } else {
        int order = memcmp(ip + 8, ip + 24, 16);
        turned = order > 0 || (order == 0 && p->source_port > p->target_port);
        p->key.w[0] = load64(ip + (turned ? 24 : 8)), p->key.w[1] = load64(ip + (turned ? 32 : 16));
        p->key.w[2] = load64(ip + (turned ? 8 : 24)), p->key.w[3] = load64(ip + (turned ? 16 : 32));
    }
    p->key.w[4] = (u64)(turned ? tp : sp) | (u64)(turned ? sp : tp) << 16 | (u64)p->protocol << 32 |
                  (u64)p->version << 40 | (u64)__builtin_bswap16(vlan) << 48;
    p->key.w[5] = __builtin_bswap16(inner);
    p->direction = turned;
    return 1;
}

static inline int same(const struct key *a, const struct key *b)
{
    u64 d = 0;
    for (int i = 0; i < 6; i++)
        d |= a->w[i] ^ b->w[i];
    return d == 0;
}

static struct flow *find_or_insert(struct table *t, const struct packet *p)
{
    u64 place = p->tag & t->mask;
    for (;; place = (place + 1) & t->mask) {
        u64 entry = t->index[place];
        if (entry == 0)
            break;
        if (entry >> 32 == p->tag && same(&t->flows[(u32)entry - 1].key, &p->key))
            return &t->flows[(u32)entry - 1];
    }
    if (t->used == t->flows_max)
        return NULL;
    struct flow *f = &t->flows[t->used++];
    t->index[place] = p->tag << 32 | t->used;
    memset(f, 0, sizeof *f);
    f->key = p->key, f->initiator = p->direction;
    return f;
}

static inline u64 high_of(const struct packet *p, const u8 *ip, int source)
{
    return p->version == 4 ? 0 : __builtin_bswap64(load64(ip + (source ? 8 : 24)));
}

static inline u64 low_of(const struct packet *p, const u8 *ip, int source)
{
    return p->version == 4 ? __builtin_bswap32(load32(ip + (source ? 12 : 16)))
                           : __builtin_bswap64(load64(ip + (source ? 16 : 32)));
}

static __attribute__((noinline)) u32 judge(const struct table *t, const struct packet *p, const u8 *data)
{
    const u8 *ip = data + p->l3;
    u64 sh = high_of(p, ip, 1), sl = low_of(p, ip, 1), th = high_of(p, ip, 0), tl = low_of(p, ip, 0);
    for (u32 i = 0; i < t->rules_count; i++) {
        const struct rule *r = &t->rules[i];
        if ((sl & r->source_low_mask) == r->source_low && (tl & r->target_low_mask) == r->target_low &&
            (r->protocol == p->protocol || r->protocol == 256) && (r->connections & 1) &&
            (r->source_version == p->version || !r->source_version) &&
            (r->target_version == p->version || !r->target_version) && (sh & r->source_high_mask) == r->source_high &&
            (th & r->target_high_mask) == r->target_high &&
            (!r->names_ports || (r->source_port_min <= p->source_port && p->source_port <= r->source_port_max &&
                                 r->target_port_min <= p->target_port && p->target_port <= r->target_port_max)))
            return r->answer;
    }
    return t->fw_default;
}

static inline u64 mix(u64 n)
{
    n = (n ^ n >> 33) * 0xFF51AFD7ED558CCDu;
    n = (n ^ n >> 33) * 0xC4CEB9FE1A85EC53u;
    return n ^ n >> 33;
}

static __attribute__((noinline)) u32 choose(const struct table *t, const struct packet *p, const u8 *data)
{
    const u8 *ip = data + p->l3;
    if (p->protocol != 6 || p->target_port != t->service_port || p->version != 4 ||
        low_of(p, ip, 0) != t->service_address)
        return 0;
    u64 client = mix(high_of(p, ip, 1) ^ mix(low_of(p, ip, 1) ^ mix(p->source_port))), best_score = 0;
    u32 best = 0;
    for (u32 i = 0; i < t->backends_count; i++) {
        u64 score = mix(client ^ mix(t->backends[i]));
        if (score > best_score)
            best = i, best_score = score;
    }
    return 1 + best;
}

static inline u8 run(struct table *t, struct packet *p, struct flow *f, u8 *data)
{
    u32 direction = p->direction ^ f->initiator;
    f->last_ns = p->time, f->packets++;
    if (p->flags & 5)
        f->closing |= p->flags & 4 ? 4 : 1 << direction;
    u32 shift = direction ? 12 : 0, answer = f->answers >> shift & 15;
    if (answer != 1) {
        if (answer == 0)
            f->answers |= (answer = judge(t, p, data)) << shift;
        if (answer != 1)
            return 27 + answer - 2;
    }
    if (!f->first_mark)
        f->first_mark = p->mark;
    if (direction == 0)
        f->packets_ab++, f->octets_ab += p->length;
    else
        f->packets_ba++, f->octets_ba += p->length;
    if (!f->chosen && !(f->asked >> direction & 1)) {
        f->chosen = choose(t, p, data);
        f->to_service = direction;
        f->asked |= 1 << direction;
    }
    if (f->chosen && direction == f->to_service) {
        u64 mac = t->backends[f->chosen - 1];
        for (int i = 0; i < 6; i++)
            data[p->start + i] = mac >> (40 - 8 * i) & 0xFF;
    }
    return 0;
}

void process(struct table *t, u8 *data, const int64_t *offsets, const u32 *lengths, const u32 *wire_lengths,
             const int64_t *times, const u64 *marks, u8 *codes, u32 count)
{
    static struct packet block[BLOCK];
    for (u32 at = 0; at < count; at += BLOCK) {
        u32 n = count - at < BLOCK ? count - at : BLOCK;
        for (u32 i = 0; i < n; i++) {
            struct packet *p = &block[i];
            p->time = times[at + i], p->mark = marks[at + i], p->length = wire_lengths[at + i];
            codes[at + i] = parse(p, data, offsets[at + i], offsets[at + i] + lengths[at + i]) ? 0 : 255;
            p->tag = hash(t, &p->key);
            __builtin_prefetch(&t->index[p->tag & t->mask], 1);
        }
        for (u32 i = 0; i < n; i++) {
            u64 place = block[i].tag & t->mask;
            block[i].guess = 0;
            for (int tries = 0; tries < 4; tries++, place = (place + 1) & t->mask)
                if (t->index[place] >> 32 == block[i].tag && (u32)t->index[place]) {
                    block[i].guess = (u32)t->index[place];
                    __builtin_prefetch(&t->flows[block[i].guess - 1], 1);
                    __builtin_prefetch((u8 *)&t->flows[block[i].guess - 1] + 64, 1);
                    break;
                }
        }
        for (u32 i = 0; i < n; i++) {
            struct packet *p = &block[i];
            if (codes[at + i])
                continue;
            struct flow *f = p->guess && same(&t->flows[p->guess - 1].key, &p->key) ? &t->flows[p->guess - 1]
                                                                                     : find_or_insert(t, p);
            codes[at + i] = f ? run(t, p, f, data) : 4;
            t->dropped += codes[at + i] > 1;
        }
    }
}

struct table *make(u32 flows_max, const struct rule *rules, u32 rules_count, u8 fw_default, const u64 *backends,
                   u32 backends_count, u32 service_address, u16 service_port)
{
    struct table *t = calloc(1, sizeof *t);
    u64 places = 4096;
    while (places < 2 * (u64)flows_max)
        places *= 2;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    t->flows = mmap(NULL, flows_max * sizeof(struct flow), PROT_READ | PROT_WRITE, flags, -1, 0);
    t->index = mmap(NULL, places * 8, PROT_READ | PROT_WRITE, flags, -1, 0);
    madvise(t->flows, flows_max * sizeof(struct flow), MADV_HUGEPAGE);
    madvise(t->index, places * 8, MADV_HUGEPAGE);
    t->mask = places - 1, t->flows_max = flows_max;
    for (int i = 0; i < 6; i++)
        t->secrets[i] = 0x9E3779B97F4A7C15u * (i + 1);
    t->rules = rules, t->rules_count = rules_count, t->fw_default = fw_default;
    t->backends = backends, t->backends_count = backends_count;
    t->service_address = service_address, t->service_port = service_port;
    return t;
}

void discard(struct table *t)
{
    munmap(t->flows, t->flows_max * sizeof(struct flow));
    munmap(t->index, (t->mask + 1) * 8);
    free(t);
}
