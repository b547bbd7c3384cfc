import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's own client behind the command line of `run`. */
public class Client {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        if (env("ACTION", "").equals("produce")) produce(); else consume();
    }

    static String env(String name, String otherwise) {
        return System.getenv().getOrDefault("CLIENT_" + name, otherwise);
    }

    static boolean has(String name) {
        return !env(name, "").isEmpty();
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    static synchronized void print(Object... pairs) {
        Map<String, Object> line = new LinkedHashMap<>();
        for (int at = 0; at < pairs.length; at += 2) line.put((String) pairs[at], pairs[at + 1]);
        try {
            System.out.println(JSON.writeValueAsString(line));
        } catch (Exception impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    static void done(int count, Throwable error) {
        if (error == null) print("done", count); else print("done", count, "error", code(error));
    }

    /** Kafka's name of an error, or the exception's if it has none. */
    static String code(Throwable error) {
        Throwable cause = Errors.maybeUnwrapException(error);
        for (Throwable at = cause; at != null; at = at.getCause()) {
            Errors known = Errors.forException(at);
            if (known != Errors.UNKNOWN_SERVER_ERROR) return known.name();
        }
        return cause.getClass().getSimpleName();
    }

    static Map<String, Object> settings() throws Exception {
        Map<String, Object> to = new HashMap<>();
        to.put("bootstrap.servers", env("BOOTSTRAP", ""));
        String security = env("SECURITY", "plaintext");
        to.put("security.protocol", security.replace("tls", "ssl").replace('-', '_').toUpperCase());
        if (has("CA")) {
            to.put("ssl.truststore.type", "PEM");
            to.put("ssl.truststore.location", env("CA", ""));
        }
        if (has("CERTIFICATE")) {
            to.put("ssl.keystore.type", "PEM");
            to.put("ssl.keystore.certificate.chain", Files.readString(Path.of(env("CERTIFICATE", ""))));
            to.put("ssl.keystore.key", Files.readString(Path.of(env("KEY", ""))));
        }
        String mechanism = env("MECHANISM", "PLAIN");
        if (!security.startsWith("sasl")) return to;
        to.put("sasl.mechanism", mechanism);
        String packages = "org.apache.kafka.common.security.";
        String login = " required username=\"" + env("USERNAME", "") + "\" password=\"" + env("PASSWORD", "") + "\";";
        if (mechanism.equals("PLAIN")) {
            to.put("sasl.jaas.config", packages + "plain.PlainLoginModule" + login);
        } else if (mechanism.startsWith("SCRAM")) {
            to.put("sasl.jaas.config", packages + "scram.ScramLoginModule" + login);
        } else {
            to.put("sasl.jaas.config", packages + "oauthbearer.OAuthBearerLoginModule required;");
            to.put("sasl.login.callback.handler.class", packages + "oauthbearer.OAuthBearerLoginCallbackHandler");
            to.put("sasl.oauthbearer.token.endpoint.url", "file://" + env("TOKEN_FILE", ""));
        }
        return to;
    }

    /** The value of a record: the template with its number, `pad` added up to the wanted size; null for `null`. */
    static String value(int n) {
        String template = env("VALUE", "{\"n\":%d}");
        if (template.equals("null")) return null;
        String value = template.replace("%d", Integer.toString(n));
        int pad = Integer.parseInt(env("SIZE", "0")) - value.length() - 9;
        return pad < 0 ? value : value.substring(0, value.length() - 1) + ",\"pad\":\"" + "x".repeat(pad) + "\"}";
    }

    static void produce() throws Exception {
        int count = Integer.parseInt(env("COUNT", "1"));
        int timeout = Integer.parseInt(env("TIMEOUT_S", "30")) * 1000;
        Map<String, Object> to = settings();
        to.put("acks", env("ACKS", "all"));
        to.put("compression.type", env("CODEC", "none"));
        to.put("enable.idempotence", Boolean.toString(has("IDEMPOTENT") || has("TRANSACTION")));
        to.put("linger.ms", "5");
        to.put("request.timeout.ms", Integer.toString(Math.min(10_000, timeout - 10)));
        to.put("delivery.timeout.ms", Integer.toString(timeout));
        to.put("max.block.ms", Integer.toString(timeout));
        if (has("TRANSACTION")) to.put("transactional.id", env("TRANSACTION", ""));
        Throwable error = null;
        var producer = new KafkaProducer<>(to, new ByteArraySerializer(), new ByteArraySerializer());
        try (producer) {
            if (has("TRANSACTION")) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            for (int n = 0; n < count; n++) {
                send(producer, n);
                rest();
            }
            producer.flush();
            if (has("ABORT")) producer.abortTransaction();
            else if (has("TRANSACTION")) producer.commitTransaction();
        } catch (RuntimeException e) {
            error = e;
        }
        done(count, error);
    }

    static void send(KafkaProducer<byte[], byte[]> producer, int n) {
        byte[] key = has("KEY_PREFIX") ? bytes(env("KEY_PREFIX", "") + n) : null;
        var record = new ProducerRecord<>(env("TOPIC", ""), key, bytes(value(n)));
        record.headers().add("trace", bytes("a-" + n)).add("trace", bytes("b-" + n)).add("empty", (byte[]) null);
        producer.send(record, (at, error) -> {
            if (error != null) print("n", n, "error", code(error));
            else print("n", n, "partition", at.partition(), "offset", at.offset());
        });
    }

    /** What the wanted rate leaves between two records. */
    static void rest() throws InterruptedException {
        int rate = Integer.parseInt(env("RATE", "0"));
        if (rate > 0) Thread.sleep(1000 / rate);
    }

    static void consume() throws Exception {
        long max = Long.parseLong(env("MAX", Long.toString(Long.MAX_VALUE)));
        long timeout = Long.parseLong(env("TIMEOUT_S", "10")) * 1_000_000_000L;
        Map<String, Object> to = settings();
        to.put("group.id", env("GROUP", ""));
        to.put("group.protocol", env("PROTOCOL", "classic"));
        to.put("auto.offset.reset", has("FROM_BEGINNING") ? "earliest" : "latest");
        to.put("enable.auto.commit", "false");
        to.put("isolation.level", env("ISOLATION", "read_uncommitted"));
        if (has("STATIC")) to.put("group.instance.id", env("STATIC", ""));
        int count = 0;
        Throwable error = null;
        var consumer = new KafkaConsumer<>(to, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        try (consumer) {
            consumer.subscribe(List.of(env("TOPIC", "")));
            long last = System.nanoTime();
            while (count < max && System.nanoTime() - last < timeout) {
                Map<TopicPartition, OffsetAndMetadata> seen = new HashMap<>();
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    if (count == max) break;
                    print(record);
                    rest();
                    count++;
                    last = System.nanoTime();
                    var at = new TopicPartition(record.topic(), record.partition());
                    seen.put(at, new OffsetAndMetadata(record.offset() + 1));
                }
                if (!seen.isEmpty()) consumer.commitSync(seen);
            }
        } catch (RuntimeException e) {
            error = e;
        }
        done(count, error);
    }

    static void print(ConsumerRecord<byte[], byte[]> record) {
        List<Object> headers = new ArrayList<>();
        record.headers().forEach(header -> {
            List<Object> pair = new ArrayList<>();
            pair.add(header.key());
            pair.add(text(header.value()));
            headers.add(pair);
        });
        print("partition", record.partition(), "offset", record.offset(), "timestamp", record.timestamp(),
                "key", text(record.key()), "value", text(record.value()), "headers", headers);
    }
}
