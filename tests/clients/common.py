"""What the two programs over librdkafka share: settings from the variables of `run`, records, lines of JSON."""

import base64
import json
import os
import time


def env(name, otherwise=""):
    return os.environ.get(f"CLIENT_{name}", otherwise)


def say(line):
    print(json.dumps(line), flush=True)


def done(count, error=None):
    say({"done": count} | ({"error": error} if error else {}))


def value(n):
    """The template with the record's number, `pad` added up to the wanted size; None for `null`."""
    template = env("VALUE", '{"n":%d}')
    if template == "null":
        return None
    text = template.replace("%d", str(n))
    pad = int(env("SIZE", "0")) - len(text) - 9
    return text if pad < 0 else f'{text[:-1]},"pad":"{"x" * pad}"}}'


def rest():
    """What the wanted rate leaves between two records."""
    if env("RATE"):
        time.sleep(1 / int(env("RATE")))


def token():
    """The token and when it ends, as librdkafka wants them; not before now, so that the server judges it."""
    with open(env("TOKEN_FILE")) as file:
        text = file.read().strip()
    claims = text.split(".")[1]
    ends = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
    return text, max(ends, time.time() + 60)


def settings():
    security = env("SECURITY", "plaintext")
    to = {
        "bootstrap.servers": env("BOOTSTRAP"),
        "socket.timeout.ms": "10000",
        "security.protocol": security.replace("tls", "ssl").replace("-", "_"),
    }
    for ours, theirs in {"CA": "ssl.ca.location", "CERTIFICATE": "ssl.certificate.location",
                         "KEY": "ssl.key.location"}.items():
        if env(ours):
            to[theirs] = env(ours)
    if security.startswith("sasl"):
        to["sasl.mechanisms"] = env("MECHANISM", "PLAIN")
        if env("MECHANISM") != "OAUTHBEARER":
            to["sasl.username"], to["sasl.password"] = env("USERNAME"), env("PASSWORD")
    return to


def producer_settings():
    to = settings() | {
        "acks": env("ACKS", "all"),
        "compression.codec": env("CODEC", "none"),
        "enable.idempotence": "true" if env("IDEMPOTENT") or env("TRANSACTION") else "false",
        "partitioner": "murmur2_random",
        "message.timeout.ms": str(int(env("TIMEOUT_S", "30")) * 1000),
    }
    if env("TRANSACTION"):
        to["transactional.id"] = env("TRANSACTION")
    return to


def consumer_settings():
    to = settings() | {
        "auto.offset.reset": "earliest" if env("FROM_BEGINNING") else "latest",
        "isolation.level": env("ISOLATION", "read_uncommitted"),
    }
    if env("PROTOCOL", "classic") != "classic":
        to["group.protocol"] = env("PROTOCOL")
    if env("STATIC"):
        to["group.instance.id"] = env("STATIC")
    return to
