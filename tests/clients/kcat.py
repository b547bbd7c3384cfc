"""kcat behind the command line of `run`.

It doesn't say which record an acknowledgement is of: they are numbered as they come, which is right where the topic
has one partition. All records of a run have the same headers.
"""

import contextlib
import json
import queue
import re
import subprocess
import tempfile
import threading
import time

from common import consumer_settings, done, env, producer_settings, say, value
from confluent_kafka import KafkaError

DELIVERED = re.compile(r"% Message delivered to partition (\d+) \(offset (-?\d+)\)")
FAILED = "% Delivery failed for message: "
# It says what librdkafka says of an error, and not its name.
NAMES = {KafkaError(code).str(): KafkaError(code).name() for code in range(-200, 200)}


def name(line):
    if "authentication error: " in line:
        return "_AUTHENTICATION"
    return NAMES.get(max((text for text in NAMES if text and text in line), key=len, default=None))


def kcat(to, log, *arguments):
    options = [part for option, setting in to.items() for part in ("-X", f"{option}={setting}")]
    return subprocess.Popen(["kcat", *options, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=log, text=True)


def produce(log):
    count = int(env("COUNT", "1"))
    arguments = ["-P", "-t", env("TOPIC"), "-vvv", "-H", "trace=a", "-H", "trace=b", "-H", "empty"]
    arguments += ["-K", "\t"] if env("KEY_PREFIX") else []
    arguments += ["-Z"] if value(0) is None else []
    key = (lambda n: f"{env('KEY_PREFIX')}{n}\t") if env("KEY_PREFIX") else (lambda n: "")
    process = kcat(producer_settings(), log, *arguments)
    with contextlib.suppress(BrokenPipeError):
        process.communicate("".join(f"{key(n)}{value(n) or ''}\n" for n in range(count)))
    n, error = 0, None
    for line in lines(log):
        if found := DELIVERED.match(line):
            say({"n": n, "partition": int(found[1]), "offset": int(found[2])})
        elif line.startswith(FAILED):
            say({"n": n, "error": name(line)})
        else:
            error = error or name(line)
            continue
        n += 1
    unsaid = "FAILED" if n < count else None
    done(count, (error or unsaid) if process.returncode else None)


def consume(log):
    most, timeout = int(env("MAX", "0")), int(env("TIMEOUT_S", "10"))
    arguments = ["-J", "-u", "-G", env("GROUP"), env("TOPIC")]
    process = kcat(consumer_settings(), log, *(["-c", str(most)] if most else []), *arguments)
    arrived = queue.SimpleQueue()
    threading.Thread(target=lambda: [*map(arrived.put, process.stdout), arrived.put(None)], daemon=True).start()
    count = 0
    while True:
        try:
            line = arrived.get(timeout=timeout)
        except queue.Empty:
            break
        if line is None:
            break
        record = json.loads(line)
        flat = record.get("headers", [])
        say({
            "partition": record["partition"],
            "offset": record["offset"],
            "timestamp": record["ts"],
            "key": record["key"],
            "value": record["payload"],
            "headers": [list(pair) for pair in zip(flat[::2], flat[1::2])],
        })
        count += 1
    process.terminate()
    process.wait()
    done(count, next((found for line in lines(log) if (found := name(line))), None))


def lines(log):
    log.seek(0)
    return log.read().splitlines()


with tempfile.TemporaryFile("a+") as written:
    produce(written) if env("ACTION") == "produce" else consume(written)
