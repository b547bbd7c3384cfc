#!/usr/bin/env python3
"""A second implementation of the ledger's verifier, written from docs/LEDGER-FORMAT.md.

usage: verify.py FILE     exit code 0 verifies, 1 diverges, 2 usage, 3 holds a kind that it does not know
Needs the package `blake3`; everything else is Python's own.
"""
import hashlib
import struct
import sys

from blake3 import blake3

LINK = "sluicegate lgr2 2026-11 row link"
GENESIS = "sluicegate lgr2 2026-11 genesis"
DETAIL = "sluicegate lgr2 2026-11 detail"
BLOB = "sluicegate lgr2 2026-11 blob"


class Divergent(Exception):
    pass


def derive(context, material):
    return blake3(material, derive_key_context=context).digest()


def decode(data, at=0, depth=20):
    """One value of the CBOR subset, and where it ends. Refuses what is not canonical."""
    if depth == 0:
        raise Divergent("arrays nest too deep")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        n = info
    elif info <= 27:
        size = 1 << (info - 24)
        if at + size > len(data):
            raise Divergent("cut short")
        n = int.from_bytes(data[at:at + size], "big")
        at += size
        if n < (24, 1 << 8, 1 << 16, 1 << 32)[info - 24]:
            raise Divergent("a number is not in its shortest form")
    else:
        raise Divergent("indefinite length")
    if major == 0:
        return n, at
    if major == 1:
        return -1 - n, at
    if major in (2, 3):
        value = data[at:at + n]
        if len(value) != n:
            raise Divergent("cut short")
        return (value if major == 2 else value.decode("utf-8")), at + n
    if major == 4:
        items = []
        for _ in range(n):
            item, at = decode(data, at, depth - 1)
            items.append(item)
        return items, at
    if major == 7 and n in (20, 21):
        return n == 21, at
    raise Divergent("a kind of value that the format does not have")


def whole(data):
    try:
        value, end = decode(data)
    except (IndexError, UnicodeDecodeError) as error:
        raise Divergent(str(error)) from error
    if end != len(data):
        raise Divergent("bytes behind the value")
    return value


def root(hashes):
    """RFC 6962, 2.1, over the hashes of leaves."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\1" + root(hashes[:k]) + root(hashes[k:])).digest()


def rule(holds, what):
    if not holds:
        raise Divergent(what)


# The types of fields: a list is an array of exactly these, `many` an array of any number of one.
U, I, T, F = "unsigned", "signed", "text", "flag"
B16, B32, BYTES = 16, 32, "bytes"


def many(of):
    return ("many", of)


ACTOR, POSITION = [T, T], [B16, U, U]
HEAD = [B16, U, B32, U]
RANGE, COST = [T, T, U, I, I], [U, U]
TERMS = [T, T, T, T, T, many(T)]
COPY = [U, "present"]
KINDS = {
    1: [T, T, many(HEAD)],
    2: None,
    3: None,
    4: [U, T, B16, many(HEAD)],
    10: [B16, ACTOR, B16, T, T, T, B32, many(T), many(B32), U, U, U, many([T, U, I, I, I, U, I])],
    11: [POSITION, many([T, T, U, many(("at",))]), many([T, T, U, T, many(U)]), many(POSITION), F],
    12: [B16, ACTOR, B16, T, T, B32, many(T), many(B32), U, many(RANGE)],
    13: [B16, many(RANGE)],
    14: [B16, ACTOR, B16, T, T, B32, many(T), T, B16, T, many(ACTOR)],
    15: [ACTOR, POSITION],
    20: [B32, B32],
    22: [B16, ACTOR, many(ACTOR), T, T, B16, U, many(T)],
    30: [ACTOR, T, B16],
    31: [ACTOR, T, T, T],
    32: [T, B16],
    33: [ACTOR, T, T, T, T, B32],
    40: [B16, B32, TERMS, U],
    50: [B16, T, T, T, T, I, I, U, B32, B32, U, COST, U, COST, I, T, many(RANGE), many(B32), U],
    51: [B16, POSITION],
    52: [B16, POSITION],
    53: [T, T, I, I, U, T],
    54: [T, I, T],
}
TREATMENT = [T, T, many(T), many([T, T, T, many(T)]), many([T, T, T, U]), many(TERMS), many([T, T, T])]


def typed(value, of):
    """Whether a value is of a type; where it is not, the bytes are not the format's."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if of == U:
        return is_number and value >= 0
    if of == I:
        return is_number
    if of == T:
        return isinstance(value, str)
    if of == F:
        return isinstance(value, bool)
    if of in (B16, B32):
        return isinstance(value, bytes) and len(value) == of
    if of == "present":
        return isinstance(value, bytes) or typed(value, many(U))
    if of == ("at",):
        return typed(value, [I, U]) or (typed(value, [I, U, U]) and value[2] != 1)
    if isinstance(of, tuple):
        return isinstance(value, list) and all(typed(item, of[1]) for item in value)
    return isinstance(value, list) and len(value) == len(of) and all(map(typed, value, of))


def leaf_of(data):
    """seq, copies, whether it has digests of its own, and its number of records."""
    leaf = whole(data)
    rule(isinstance(leaf, list) and len(leaf) in (4, 5), "not a leaf")
    count = leaf[4] if len(leaf) == 5 else 1
    rule(typed(leaf[0], U) and typed(count, U) and not (len(leaf) == 5 and count == 1), "not a leaf")
    rule(typed(leaf[2], many(B16)) and typed(leaf[3], many(B16)), "not a leaf")
    fate = leaf[1]
    rule(isinstance(fate, list) and len(fate) == 2 and isinstance(fate[1], list), "not a fate")
    forms = {1: [many(COPY)], 2: [T, T], 3: [T], 4: [many(COPY)]}
    rule(fate[0] in forms and typed(fate[1], forms[fate[0]]), "not a fate")
    copies = fate[1][0] if fate[0] in (1, 4) else []
    return copies, bool(leaf[2] or leaf[3]), count


def records(data):
    if data[:8] != b"lgr2exp\n":
        sys.exit(2)
    at = 8

    def field():
        nonlocal at
        (length,) = struct.unpack_from(">I", data, at)
        value = data[at + 4:at + 4 + length]
        at += 4 + length
        return value

    while at < len(data):
        tag, at = data[at], at + 1
        if tag in (2, 3):
            yield ("detail" if tag == 2 else "blob"), field(), field()
        else:
            writer, wseq, row = field(), int.from_bytes(field(), "big"), field()
            kept, at = data[at], at + 1
            yield "row", writer, wseq, row, field() if kept else None


class Releases:
    """What rows say of releases; judged when all were read."""

    def __init__(self):
        self.by_id = {}  # id: [(position, charge, cap)]
        self.voids, self.published, self.ended = [], [], set()
        self.wanted, self.kept, self.false = set(), set(), set()
        self.messages = {}  # position: number of messages

    def entry(self, writer, wseq, n, kind, body):
        if kind == 1:
            self.ended.update(p[0] for p in body[0][2])
        elif kind == 2:
            self.ended.add(writer)
        elif kind == 50:
            r = body[0]
            start, end, (unit, cost, uses, cap) = r[5], r[6], r[10:14]
            if start >= end or uses == 0 or any(c[3] > c[4] for c in r[16]):
                raise Divergent("a release contradicts itself")
            charge = (r[2], r[14], r[9], unit, uses, tuple(cost))
            self.by_id.setdefault(r[0], []).append(((writer, wseq, n), charge, tuple(cap)))
            self.wanted.update(r[17])
            self.messages[(writer, wseq, n)] = r[18]
        elif kind in (51, 52):
            (self.voids if kind == 51 else self.published).append((body[0][0], tuple(body[0][1])))

    def blob(self, digest, data):
        (self.kept if derive(BLOB, data) == digest else self.false).add(digest)

    def judge(self):
        if self.wanted & self.false - self.kept:
            raise Divergent("published bytes are not those of the release")
        there = {(i, met[0]) for i, all_ in self.by_id.items() for met in all_}
        if not set(self.voids) <= there:
            raise Divergent("a void of nothing")
        void = {at for _, at in self.voids}
        left = set(self.published)
        if not left <= {(i, at) for i, at in there if at not in void}:
            raise Divergent("a publication of nothing, or of what is void")
        if len({i for i, _ in left}) < len(left):
            raise Divergent("two releases of an id were published")
        periods = {}
        for i, all_ in self.by_id.items():
            stand = [met for met in all_ if met[0] not in void]
            if not stand or len({charge for _, charge, _ in all_}) > 1:
                raise Divergent("all releases of an id are void, or they differ in their charge")
            if sum(at[0] in self.ended for at, _, _ in stand) > 1:
                raise Divergent("two releases of an id stand")
            _, charge, cap = next((m for m in stand if (i, m[0]) in left), stand[0])
            lines, caps = periods.setdefault(charge[:2], ({}, []))
            lines[charge[2:]] = lines.get(charge[2:], 0) + 1
            caps.append(cap)
        for lines, caps in periods.values():
            if len({unit for _, unit, _, _ in lines}) > 1 or len({k[0] for k in lines}) < len(lines):
                raise Divergent("releases of a period contradict each other")
            for part in (0, 1):
                spent = sum(min(n, uses) * cost[part] for (_, _, uses, cost), n in lines.items())
                if spent > min(cap[part] for cap in caps):
                    raise Divergent("a period is charged above its cap")


class Outcomes:
    """Where records ended: the pieces of an intent's outcome, taken together."""

    FINAL = (1, 3)

    def __init__(self):
        # position: [first leaf, [None or (records, {(region, topic): [places, ending]})], reopened]
        # again: position: [times taken up again, times ended, whether a piece was met behind an end]
        self.open, self.again, self.early = {}, {}, []

    @staticmethod
    def of_release(outcome, messages):
        of, placed, missing, repeat, _ = outcome
        leaves = [at[1] for p in placed for at in p[3]] + [n for m in missing for n in m[4]]
        rule(not repeat and all(n >> 20 == of[2] and n & 0xFFFFF < messages for n in leaves),
             "an outcome names a message that its release does not have")

    def piece(self, outcome, is_there):
        of, placed, missing, repeat, complete = outcome
        rule(len(repeat) <= 1, "an outcome is a repetition of more than one intent")
        rule(not repeat or (complete and not placed and not missing),
             "a repetition was sent, or is not complete")
        if is_there:
            self.apply(outcome)
        else:
            self.early.append(outcome)

    def apply(self, outcome):
        of, placed, missing, repeat, complete = outcome
        of = tuple(of)
        if of not in self.open:
            again = self.taken_up(of, True)
            again[1] += complete
            again[2] = True
            return
        first, leaves, reopened = self.open[of]

        def leaf(n):
            if 0 <= n - first < len(leaves):
                return leaves[n - first]
            rule(reopened, "an outcome names a leaf that its intent does not have")
            return None

        for region, topic, partition, ats in placed:
            for offset, n, *count in ats:
                count = count[0] if count else 1
                rule(count > 0, "a placement of no record")
                if leaf(n) is None:
                    continue
                records, copies = leaf(n)
                rule((region, topic) in copies, "placed where none of its treatments goes")
                copy = copies[(region, topic)]
                if (partition, offset, count) in copy[0]:
                    continue
                rule(reopened or copy[1] not in self.FINAL, "placed, and not written or unknown")
                copy[0].append((partition, offset, count))
                rule(sum(place[2] for place in copy[0]) <= records, "placed twice in one region")
        for region, topic, state, _, named in missing:
            rule(state in (1, 2, 3), "a state that the format does not have")
            for n in named or range(first, first + len(leaves)):
                if leaf(n) is None:
                    continue
                records, copies = leaf(n)
                found = [c for to, c in copies.items() if region in ("", to[0]) and topic in ("", to[1])]
                rule(found or not named or region == "" or reopened, "missing where none of its treatments goes")
                for copy in found:
                    if state == 2:
                        copy[1] = copy[1] or 2
                        continue
                    whole_ = sum(place[2] for place in copy[0]) == records
                    rule(reopened or not whole_, "placed, and not written or unknown")
                    rule(reopened or copy[1] in (None, 2, state), "not written, and unknown")
                    copy[1] = state
        if complete:
            ends = all(
                sum(place[2] for place in places) == records or ending in self.FINAL
                for records, copies in filter(None, leaves) for places, ending in copies.values())
            rule(repeat or reopened or ends, "an outcome is complete, and a copy has no end")
            del self.open[of]
            if of in self.again:
                self.again[of][1] += 1

    # Chains are met in any order: an intent may end again before it is met that it was taken up again.
    def taken_up(self, of, is_there):
        return self.again.setdefault(of, [0, int(is_there and of not in self.open), False])

    def reopened(self, of, is_there):
        self.taken_up(of, is_there)[0] += 1
        if of in self.open:
            self.open[of][2] = True


class Reads:
    def __init__(self):
        self.granted, self.early = {}, {}

    @staticmethod
    def within(granted, read):
        fits = all(r[3] <= r[4] and any(g[:3] == r[:3] and g[3] <= r[3] and r[4] <= g[4] for g in granted)
                   for r in read)
        rule(fits, "more was read than was granted")

    def entry(self, kind, fields):
        if kind == 13:
            id_, ranges = fields
            if id_ in self.granted:
                self.within(self.granted.pop(id_), ranges)
            else:
                rule(id_ not in self.early, "a read is closed that was not granted, or closed before")
                self.early[id_] = ranges
            return
        id_, treatments, state, ranges = fields[0], fields[7], fields[8], fields[9]
        rule(len(treatments) <= 1, "a read has more than one view")
        rule(state in (1, 2), "a state that the format does not have")
        rule(all(r[3] <= r[4] for r in ranges), "a range of a read goes backwards")
        if state == 2 and id_ in self.early:
            self.within(ranges, self.early.pop(id_))
        elif state == 2:
            rule(id_ not in self.granted, "a read is granted twice")
            self.granted[id_] = ranges


class Ledger:
    def __init__(self):
        self.chains = {}  # writer: (first, last, link, segment)
        self.details, self.origin, self.rows, self.unknown = {}, None, 0, None
        self.segments, self.named, self.oldest, self.is_cut = {}, {}, None, False
        self.releases, self.outcomes, self.reads = Releases(), Outcomes(), Reads()

    def detail(self, digest, data):
        if derive(DETAIL, data) != digest:
            return
        try:
            treatment = whole(data)
        except Divergent:
            return
        is_other_topic = isinstance(treatment, list) and len(treatment) == 8 and typed(treatment[7], T)
        if typed(treatment[:7] if is_other_topic else treatment, TREATMENT):
            self.details[digest] = treatment

    def row(self, writer, wseq, data, manifest):
        fields = whole(data)
        types = ["any", T, B16, U, B32, I, U, T, U, many("any"), U, B32]
        rule(isinstance(fields, list) and len(fields) == 12 and fields[0] == "lgr2", "another format")
        rule(all(of in ("any", many("any")) or typed(v, of) for v, of in zip(fields, types)), "not a row")
        _, origin, own, number, prev, _, _, _, segment, entries, leaves, event_root = fields
        for entry in entries:
            rule(isinstance(entry, list) and len(entry) == 2 and typed(entry[0], U)
                 and isinstance(entry[1], list), "not an entry")
            kind, body = entry
            if kind in KINDS:
                of = [KINDS[kind]] if KINDS[kind] else []
                rule(typed(body, of), "a kind with other fields")
                if kind in (10, 12):
                    treatments = body[0][8 if kind == 10 else 7]
                    rule(all(t in self.details for t in treatments), "a treatment is missing")
        rule((own, number) == (writer, wseq), "stored as another row")
        self.origin = self.origin or origin
        rule(origin == self.origin, "a row of another ledger")
        opens = [body[0] for kind, body in entries if kind == 4]
        own_heads = [h for o in opens for h in o[3] if (h[0], h[1]) == (writer, wseq - 1)]
        before = self.chains.get(writer)
        if before:
            rule(wseq == before[1] + 1, "a row is missing")
            expected = before[2]
        elif wseq == 0:
            name = origin.encode()
            expected = derive(GENESIS, struct.pack(">Q", len(name)) + name + writer)
        else:
            rule(own_heads and own_heads[0][3] < segment, "a row is missing")
            expected = own_heads[0][2]
        rule(prev == expected, "not chained")
        link = derive(LINK, data)
        self.segment(writer, wseq, prev, link, segment, before, entries, opens, own_heads)
        self.meaning(writer, wseq, entries, leaves, event_root, manifest)
        self.chains[writer] = (before[0] if before else wseq, wseq, link, segment)
        for n, (kind, body) in enumerate(entries):
            self.releases.entry(writer, wseq, n, kind, body)
        for kind, body in entries:
            self.ended(writer, wseq, kind, body)
        self.rows += 1

    def segment(self, writer, wseq, prev, link, segment, before, entries, opens, own_heads):
        was = before[3] if before else None
        rule(was is None or was <= segment, "a chain goes back to an older segment")
        for number, key, check, _ in opens:
            rule(number == segment, "a segment is opened in a row of another one")
            rule(self.segments.setdefault(number, (key, check)) == (key, check),
                 "a segment is opened with another search key")
        if was != segment:
            rule(opens, "a chain enters a segment and does not say so")
            rule(wseq == 0 or own_heads, "a chain enters a segment and does not name its own head")
            if own_heads:
                head = own_heads[0]
                rule(head[2] == prev and was in (None, head[3]), "another head as its own")
                if was is None:
                    self.named[(head[0], head[1])] = (head[2], head[3])
        self.is_cut |= was is None and wseq > 0
        self.oldest = segment if self.oldest is None else min(self.oldest, segment)
        sealed = self.named.pop((writer, wseq), (link, segment))
        rule(sealed == (link, segment), "a later row saw another row here")
        for kind, body in entries:
            for head in body[0][2] if kind == 1 else body[0][3] if kind == 4 else []:
                if (head[0], head[2]) != (writer, prev):
                    self.named[(head[0], head[1])] = (head[2], head[3])

    def meaning(self, writer, wseq, entries, leaves, event_root, manifest):
        intents = [body[0] for kind, body in entries if kind == 10]
        covered = 0
        for intent in intents:
            rule(intent[9] == covered and intent[10] > 0, "intents do not cover the leaves")
            rule(intent[11] >= intent[10], "fewer records than leaves")
            rule(len(intent[12]) <= 1, "more than one batch")
            covered += intent[10]
        rule(covered == leaves, "intents do not cover the leaves")
        transfers = set()
        for kind, body in entries:
            if kind == 40:
                request, treatment, terms, records = body[0]
                rule((request, treatment) not in transfers, "a transfer is recorded twice")
                transfers.add((request, treatment))
                rule(any(i[0] == request and treatment in i[8] and 1 <= records <= i[11]
                         and any(c[:5] == terms[:5] and set(terms[5]) <= set(c[5])
                                 for c in self.details[treatment][5]) for i in intents),
                     "a transfer does not fit its intent and its treatment")
            elif kind == 50:
                rule(leaves == 0, "a row has both a release and leaves")
            elif kind in (12, 13):
                self.reads.entry(kind, body[0])
        kept = None
        if manifest is not None:
            kept = whole(manifest)
            rule(isinstance(kept, list) and all(isinstance(leaf, bytes) or typed(leaf, [B32]) for leaf in kept),
                 "not a manifest")
            hashes = [hashlib.sha256(b"\0" + leaf).digest() if isinstance(leaf, bytes) else leaf[0] for leaf in kept]
            rule(len(kept) == leaves and root(hashes) == event_root, "the leaves are not those of the root")
        for intent in intents:
            first, number = intent[9], intent[10]
            mine = kept[first:first + number] if kept is not None else [None] * number
            due, records, forgotten = [], 0, 0
            for leaf in mine:
                if not isinstance(leaf, bytes):
                    due.append(None)
                    forgotten += 1
                    continue
                copies, has_digests, count = leaf_of(leaf)
                rule(count > 0 and not (count > 1 and has_digests), "a run has no records, or digests")
                to = {}
                for n, present in copies:
                    rule(n < len(intent[8]), "a leaf refers to a treatment that its intent does not have")
                    treatment = self.details[intent[8][n]]
                    self.present(present, len(treatment[3]), count)
                    place = (treatment[0], treatment[7] if len(treatment) == 8 else intent[5])
                    rule(place not in to, "two copies go to the same topic of a region")
                    to[place] = [[], None]
                records += count
                due.append((count, to))
            rule(records + forgotten <= intent[11] and (forgotten or records == intent[11]),
                 "an intent's records are not the sum of its leaves'")
            again = self.outcomes.again.get((writer, wseq, first), [0])
            self.outcomes.open[(writer, wseq, first)] = [first, due, again[0] > 0]

    @staticmethod
    def present(present, fields, count):
        if isinstance(present, bytes):
            clear = not present or fields % 8 == 0 or present[-1] >> (fields % 8) == 0
            rule(count == 1 and len(present) == (fields + 7) // 8 and clear, "presence does not fit")
        else:
            rule(count > 1 and len(present) == fields and all(n <= count for n in present),
                 "presence does not fit")

    def ended(self, writer, wseq, kind, body):
        if kind == 11:
            of = tuple(body[0][0])
            chain = self.chains.get(of[0])
            if of in self.releases.messages:
                self.outcomes.of_release(body[0], self.releases.messages[of])
            else:
                self.outcomes.piece(body[0], chain is not None and chain[0] <= of[1] <= chain[1])
        elif kind == 15:
            of = tuple(body[0][1])
            chain = self.chains.get(of[0])
            self.outcomes.reopened(of, chain is not None and chain[0] <= of[1] <= chain[1])
        elif kind not in KINDS and kind < 1000:
            self.unknown = self.unknown or (writer, wseq, kind)

    def finish(self):
        for (writer, wseq), (link, segment) in self.named.items():
            chain = self.chains.get(writer)
            if chain and (chain[0] <= wseq < chain[1] or (wseq == chain[1] and link == chain[2])):
                continue
            rule(segment < self.oldest, "a later row saw another row here, or one that is gone")
            self.is_cut = True
        for outcome in self.outcomes.early:
            of = tuple(outcome[0])
            chain = self.chains.get(of[0])
            if of in self.releases.messages:
                self.outcomes.of_release(outcome, self.releases.messages[of])
            elif chain and chain[0] <= of[1] <= chain[1]:
                if of in self.outcomes.open or outcome[4]:
                    self.outcomes.apply(outcome)
            else:
                rule(self.is_cut, "an outcome of no intent")
                if of in self.outcomes.again:
                    self.outcomes.again[of][1] += outcome[4]
        for of, (reopened, ends, late) in self.outcomes.again.items():
            rule(reopened or not late, "an outcome of an intent that is complete, or of none")
            chain = self.chains.get(of[0])
            is_there = bool(chain and chain[0] <= of[1] <= chain[1])
            if ends < reopened + is_there:
                self.outcomes.open.setdefault(of, [of[2], [], True])
        rule(self.is_cut or not self.reads.early, "a read is closed that was not granted")
        self.releases.judge()


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    ledger = Ledger()
    for record in records(data):
        if record[0] == "detail":
            ledger.detail(*record[1:])
            continue
        if record[0] == "blob":
            ledger.releases.blob(*record[1:])
            continue
        try:
            ledger.row(*record[1:])
        except Divergent as why:
            print(f"DIVERGES at {record[1].hex()}/{record[2]}: {why}")
            return 1
    try:
        ledger.finish()
    except Divergent as why:
        print(f"DIVERGES: {why}")
        return 1
    if ledger.unknown:
        writer, wseq, kind = ledger.unknown
        print(f"not judged: kind {kind} at {writer.hex()}/{wseq} is not known to this program")
        return 3
    if not ledger.rows:
        print("nothing to verify")
        return 1
    if ledger.is_cut:
        print(f"rows before segment {ledger.oldest} are no longer kept")
    for writer, wseq, leaf in sorted(ledger.outcomes.open):
        print(f"without an outcome: {writer.hex()}-{wseq}-{leaf}")
    print(f"verifies: {ledger.rows} rows of {len(ledger.chains)} writers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
