"""Reads whole topics with librdkafka, a client the gateway does not use: the independent judge.

    read.py BOOTSTRAP TOPIC...      one JSON object a record on stdout; keys, values and headers in base64

Every partition from its beginning to the end it had when we came; committed records only, checksums on.
"""

import base64
import json
import sys

from confluent_kafka import Consumer, TopicPartition

POLL_S = 10.0


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def main(bootstrap, topics):
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "judge",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": False,
    })
    ends = {}
    for topic in topics:
        known = consumer.list_topics(topic, timeout=POLL_S).topics[topic]
        if known.error is not None:
            sys.exit(f"{topic}: {known.error}")
        for partition in known.partitions:
            at = TopicPartition(topic, partition, 0)
            low, high = consumer.get_watermark_offsets(at, timeout=POLL_S)
            if high > low:
                ends[topic, partition] = high
    consumer.assign([TopicPartition(t, p, 0) for t, p in ends])
    waiting = set(ends)
    while waiting:
        message = consumer.poll(POLL_S)
        if message is not None and message.error():
            sys.exit(str(message.error()))
        if message is not None:
            print(json.dumps({
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
                "key": text(message.key()),
                "value": text(message.value()),
                "headers": [[name, text(data)] for name, data in message.headers() or []],
            }))
        # The position also passes control records and aborted ones, which are never handed out.
        for at in consumer.position([TopicPartition(t, p) for t, p in waiting]):
            if at.offset >= ends[at.topic, at.partition]:
                waiting.discard((at.topic, at.partition))
        if message is None and waiting:
            sys.exit(f"no record for {POLL_S} s; still short of the end: {sorted(waiting)}")
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
