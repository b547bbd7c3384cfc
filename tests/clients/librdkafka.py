"""librdkafka by confluent-kafka for Python, behind the command line of `run`."""

import time

from common import consumer_settings, done, env, producer_settings, rest, say, token, value
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

# What ends the program: it would be the same after any number of tries.
FINAL = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}
ended = []


def judge(error):
    if error.fatal() or error.code() in FINAL:
        ended.append(error.name())


def produce():
    count = int(env("COUNT", "1"))
    try:
        producer = Producer(calls(producer_settings()))
        if env("TRANSACTION"):
            producer.init_transactions()
            producer.begin_transaction()
        for n in range(count):
            send(producer, n)
            rest()
        while producer.flush(0.2) and not ended:
            pass
        producer.purge()
        producer.flush(1)
        if env("ABORT"):
            producer.abort_transaction()
        elif env("TRANSACTION"):
            producer.commit_transaction()
    except KafkaException as e:
        ended.append(e.args[0].name())
    done(count, ended[-1] if ended else None)


def send(producer, n):
    def acknowledged(error, message):
        if error:
            purged = error.name().startswith("_PURGE") and ended
            say({"n": n, "error": ended[0] if purged else error.name()})
        else:
            say({"n": n, "partition": message.partition(), "offset": message.offset()})

    headers = [("trace", f"a-{n}"), ("trace", f"b-{n}"), ("empty", None)]
    key = env("KEY_PREFIX") + str(n) if env("KEY_PREFIX") else None
    while True:
        try:
            producer.produce(env("TOPIC"), value(n), key, headers=headers, on_delivery=acknowledged)
            break
        except BufferError:
            producer.poll(0.1)
        except KafkaException as e:
            say({"n": n, "error": e.args[0].name()})
            break
    producer.poll(0)


def consume():
    most = int(env("MAX", str(1 << 60)))
    timeout = int(env("TIMEOUT_S", "10"))
    consumer = Consumer(calls(consumer_settings() | {"group.id": env("GROUP"), "enable.auto.offset.store": "false"}))
    consumer.subscribe([env("TOPIC")])
    count, last = 0, time.monotonic()
    while count < most and time.monotonic() - last < timeout and not ended:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            judge(message.error())
            continue
        count, last = count + 1, time.monotonic()
        say({
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": message.timestamp()[1],
            "key": text(message.key()),
            "value": text(message.value()),
            "headers": [[name, text(data)] for name, data in message.headers() or []],
        })
        consumer.store_offsets(message=message)
        rest()
    consumer.close()
    done(count, ended[0] if ended else None)


def text(data):
    return None if data is None else data.decode(errors="replace")


def calls(to):
    to["error_cb"] = judge
    if env("MECHANISM") == "OAUTHBEARER":
        to["oauth_cb"] = lambda _: token()
    return to


produce() if env("ACTION") == "produce" else consume()
