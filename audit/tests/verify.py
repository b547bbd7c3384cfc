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
        if tag == 2:
            yield "detail", field(), field()
        else:
            writer, wseq, row = field(), int.from_bytes(field(), "big"), field()
            kept, at = data[at], at + 1
            yield "row", writer, wseq, row, field() if kept else None


def check_row(heads, origins, wanted, writer, wseq, row, manifest):
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
    heads[writer] = (number, derive(LINK, row))


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    heads, origins, wanted, details = {}, set(), set(), set()
    rows = 0
    for record in records(data):
        if record[0] == "detail":
            details.add(derive(DETAIL, record[2]))
            continue
        try:
            check_row(heads, origins, wanted, *record[1:])
        except Divergent as why:
            print(f"DIVERGES at {record[1].hex()}/{record[2]}: {why}")
            return 1
        rows += 1
    if not wanted <= details:
        print("DIVERGES: a treatment is missing")
        return 1
    print(f"verifies: {rows} rows of {len(heads)} writers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
