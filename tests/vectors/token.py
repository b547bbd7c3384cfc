#!/usr/bin/env python3
"""Known answers for tokens, from the description of the format alone: standard library only.

    python3 tests/vectors/token.py > tests/vectors/token.json

AES is not in the standard library; the check needs one block of AES-256, written out below from
FIPS 197 and tried on the example in its appendix C.3.
"""
import hashlib, hmac, json, re, struct, unicodedata

MASTERS = {"main": bytes(range(32)), "next": bytes(range(32, 64))}
ALPHABET = "0123456789abcdefghijklmnopqrstuv"


def times(a, b):
    """Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def s_box(byte):
    inverse = next((x for x in range(256) if times(byte, x) == 1), 0)
    turned = [((inverse << n) | (inverse >> (8 - n))) & 255 for n in range(5)]
    return turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4] ^ 0x63


S = [s_box(byte) for byte in range(256)]


def aes256(key, block):
    words = [list(key[i:i + 4]) for i in range(0, 32, 4)]
    factor = 1
    for i in range(8, 60):
        word = list(words[i - 1])
        if i % 8 == 0:
            word = [S[b] for b in word[1:] + word[:1]]
            word[0] ^= factor
            factor = times(factor, 2)
        elif i % 8 == 4:
            word = [S[b] for b in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word)])
    rounds = [sum(words[i:i + 4], []) for i in range(0, 60, 4)]
    state = [a ^ b for a, b in zip(block, rounds[0])]
    for n in range(1, 15):
        state = [S[b] for b in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if n < 14:
            columns = [state[i:i + 4] for i in range(0, 16, 4)]
            state = [times(c[i], 2) ^ times(c[(i + 1) % 4], 3) ^ c[(i + 2) % 4] ^ c[(i + 3) % 4]
                     for c in columns for i in range(4)]
        state = [a ^ b for a, b in zip(state, rounds[n])]
    return bytes(state)


assert aes256(bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == \
    "8ea2b7ca516745bfeafc49904b496089"


def info(*parts):
    return b"".join(struct.pack(">Q", len(p)) + p for p in parts)


def derive(key, info_bytes):
    master = hmac.new(b"sluicegate keyring v1", MASTERS[key], hashlib.sha256).digest()
    return hmac.new(master, info_bytes + b"\x01", hashlib.sha256).digest()


def base32hex(data):
    bits = "".join(f"{b:08b}" for b in data)
    return "".join(ALPHABET[int(bits[i:i + 5], 2)] for i in range(0, len(bits) // 5 * 5, 5))


# Text is chosen so that it is the same in every version of Unicode since 6.
INVISIBLE = "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
DASHES = "\\-\u2010-\u2015\u2212"


def nfkc(text):
    return unicodedata.normalize("NFKC", text)


def compatible(text):
    return re.sub(INVISIBLE, "", nfkc(text)).strip()


def label(text):
    text = nfkc(nfkc(text).lower())
    return nfkc(text[4:].encode().decode("punycode").lower()) if text.startswith("xn--") else text


def normalise(name, text):
    """For values that fit: what does not is the business of tests beside the code."""
    if name == "email-v2":
        local, _, domain = text.strip().rpartition("@")
        return unicodedata.normalize("NFC", local) + "@" + ".".join(map(label, domain.split(".")))
    if name == "phone-v2":
        number, mark, extension = re.fullmatch("([^a-z;#]*)([a-z;#][^0-9]*)?(.*)", compatible(text)).groups()
        number = re.sub("[^0-9+()]", "", number)
        if re.match(r"\(?(\+|00)", number):
            number = number.replace("(0)", "")
        number = re.sub("^00", "+", re.sub("[()]", "", number))
        return number + (";ext=" + extension if mark else "")
    if name == "digits-v2":
        return re.sub("[^0-9]", "", compatible(text))
    if name == "compact-v2":
        return nfkc(re.sub(f"[\\s{DASHES}]", "", compatible(text)).upper())
    if name == "name-v2":
        return " ".join(nfkc("".join(c.lower().upper().lower() for c in compatible(text))).split())
    return text


def token(tenant, domain, scope, epoch, normalizer, key, value):
    t, d, s = tenant.encode(), domain.encode(), scope.encode()
    mac_key = derive(key, info(t, d, s, struct.pack(">I", epoch), normalizer.encode(), b"tk1 hmac-sha256-128"))
    mac = hmac.new(mac_key, normalise(normalizer, value).encode(), hashlib.sha256).digest()[:16]
    check_root = derive(key, info(t, d, s, b"tk1 check aes256-32"))
    check_key = hmac.new(check_root, struct.pack(">I", epoch), hashlib.sha256).digest()
    check = aes256(check_key, mac)[:4]
    dom4 = base32hex(hashlib.sha256(info(t, d, b"tk1 domain sha256-20")).digest())[:4]
    return f"tk1_{dom4}_{epoch}_{base32hex(mac + check)}"


ROWS = [
    ("acme", "customer.email", "purpose=analytics", 1, "exact-v1", "main", value)
    for value in ["", "a", "ada@example.com", "ADA@example.com", " x ", "é\U0001f600", "1e400", "true", "x" * 200]
] + [
    ("acme", "customer.email", "purpose=analytics", 1, "email-v2", "main", value)
    for value in ["Ada@Example.COM", " Ada@example.com\n", '"a b"@C.org', "j\u00fcrgen@m\u00fcnchen.example",
                  "ju\u0308rgen@M\u00dcNCHEN.example", "j\u00fcrgen@XN--mnchen-3ya.example",
                  "a@\uff45xample.com", "x\u00b2@example.com"]
] + [
    ("acme", "phone", "global", 7, "phone-v2", "main", value)
    for value in ["+49 (0)30 123", "0049 30 123", "030/123", "(+44) 20", "4930123", "(030) 123",
                  "\u202a+49\u00a030\u2011123\u202c", "+1 770 736 8031 x56442"]
] + [
    ("acme", "card", "recipient=vendor.us", 4294967295, "digits-v2", "next", value)
    for value in ["4111 1111-1111 1111", "4111111111111111", "\uff14111 1111 1111 1111"]
] + [
    ("acme", "iban", "jurisdiction=DE", 0, "compact-v2", "next", value)
    for value in ["de89 3704\u2011 0044 \u00df", "DE89 3704 0044 SS", "DE8937040044\ufb03"]
] + [
    ("acme", "name", "dataset=orders", 2, "name-v2", "main", value)
    for value in ["  Ada \t LOVELACE ", "\u00c9LODIE \u00d6Z", "e\u0301lodie o\u0308z", "Jos\u00e9 Garc\u00eda",
                  "\u039f\u03b4\u03c5\u03c3\u03c3\u03b5\u03cd\u03c2", "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u038e\u03a3", "Stra\u00dfe", "STRASSE",
                  "\u0390", "\u03aa\u0301"]
] + [
    ("umbrella", "name", "dataset=orders", 2, "name-v2", "main", "ada lovelace"),
    ("a", "bc", "", 1, "exact-v1", "main", "v"),
    ("ab", "c", "", 1, "exact-v1", "main", "v"),
]

NAMES = ["tenant", "domain", "scope", "epoch", "normalizer", "key", "value"]
rows = [json.dumps(dict(zip(NAMES, row), token=token(*row)), ensure_ascii=True) for row in ROWS]
print("[\n  " + ",\n  ".join(rows) + "\n]")
