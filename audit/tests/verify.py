#!/usr/bin/env python3
"""A second implementation of the ledger's verifier, written from docs/LEDGER-FORMAT.md.

usage: verify.py FILE          exit code 0 verifies, 1 diverges, 2 usage
Needs the package `blake3`; everything else is Python's own.
"""
import hashlib
import struct
import sys

from blake3 import blake3

LINK = "sluicegate lgr1 2026-11 row link"
GENESIS = "sluicegate lgr1 2026-11 genesis"
DETAIL = "sluicegate lgr1 2026-11 detail"
BLOB = "sluicegate lgr1 2026-11 blob"


class Divergent(Exception):
    pass


def derive(context, material):
    return blake3(material, derive_key_context=context).digest()


def decode(data, at=0):
    """One value of the CBOR subset, and where it ends. Refuses what is not canonical."""
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
            item, at = decode(data, at)
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


def root(leaves):
    """RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def records(data):
    if data[:8] != b"lgr1exp\n":
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


def check_row(heads, origins, wanted, releases, writer, wseq, row, manifest):
    fields = whole(row)
    if len(fields) != 11 or fields[0] != "lgr1":
        raise Divergent("another format")
    _, origin, own, number, prev, _, _, _, entries, events, event_root = fields
    if (own, number) != (writer, wseq):
        raise Divergent("stored as another row")
    origins.add(origin)
    if len(origins) > 1:
        raise Divergent("a row of another ledger")
    name = origin.encode()
    genesis = derive(GENESIS, struct.pack(">Q", len(name)) + name + writer)
    last, link = heads.get(writer, (-1, genesis))
    if number != last + 1:
        raise Divergent("a row is missing")
    if prev != link:
        raise Divergent("not chained")
    covered = 0
    for kind, body in ((e[0], e[1]) for e in entries):
        if kind == 10:
            intent = body[0]
            if intent[9] != covered:
                raise Divergent("intents do not cover the events")
            covered += intent[10]
            wanted.update(intent[8])
    if covered != events:
        raise Divergent("intents do not cover the events")
    if manifest is not None:
        leaves = whole(manifest)
        if len(leaves) != events or root(leaves) != event_root:
            raise Divergent("the events are not those of the root")
        for leaf in leaves:
            whole(leaf)
    for n, (kind, body) in enumerate(entries):
        releases.entry(writer, wseq, n, kind, body)
    heads[writer] = (number, derive(LINK, row))


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    heads, origins, wanted, details, releases = {}, set(), set(), set(), Releases()
    rows = 0
    for record in records(data):
        if record[0] == "detail":
            details.add(derive(DETAIL, record[2]))
            continue
        if record[0] == "blob":
            releases.blob(*record[1:])
            continue
        try:
            check_row(heads, origins, wanted, releases, *record[1:])
        except Divergent as why:
            print(f"DIVERGES at {record[1].hex()}/{record[2]}: {why}")
            return 1
        rows += 1
    if not wanted <= details:
        print("DIVERGES: a treatment is missing")
        return 1
    try:
        releases.judge()
    except Divergent as why:
        print(f"DIVERGES: {why}")
        return 1
    print(f"verifies: {rows} rows of {len(heads)} writers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
