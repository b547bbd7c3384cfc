import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.NameCallback;
import javax.security.auth.callback.PasswordCallback;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.sasl.SaslClient;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerTokenCallback;
import org.apache.kafka.common.security.oauthbearer.internals.OAuthBearerSaslClient;
import org.apache.kafka.common.security.scram.internals.ScramMechanism;
import org.apache.kafka.common.security.scram.internals.ScramSaslClient;

/**
 * What Kafka's own client makes of bytes and of JSON. A question a line on standard input, its answer a line of JSON:
 *
 *   versions                               of each API, the oldest and the newest
 *   errors                                 of each error, its code
 *   message KEY DIRECTION VERSION HEX JSON the bytes of the JSON, the JSON of the bytes, the bytes of what was read
 *   header HEX                             of a request
 *   batch HEX                              what is in batches, and batches with the same made by Kafka
 *   scram MECHANISM HEX HEX                name and password: begins; then `challenge HEX` with what the server says
 *   bearer HEX                             token: the same
 */
public class Oracle {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;
    private static final HexFormat HEX = HexFormat.of();
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static SaslClient client;

    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer = JSON.objectNode();
            try {
                answer(line.split(" ", 6), answer);
            } catch (Throwable failure) {
                Throwable cause = failure.getCause() == null ? failure : failure.getCause();
                answer.put("error", cause.toString());
            }
            out.println(answer);
            out.flush();
        }
    }

    private static void answer(String[] words, ObjectNode answer) throws Exception {
        switch (words[0]) {
            case "versions":
                for (ApiKeys key : ApiKeys.values()) {
                    ArrayNode range = answer.putArray(Integer.toString(key.id));
                    range.add(key.oldestVersion()).add(key.latestVersion(true));
                }
                break;
            case "errors":
                for (Errors error : Errors.values()) {
                    answer.put(error.name(), error.code());
                }
                break;
            case "message":
                message(Short.parseShort(words[1]), words[2], Short.parseShort(words[3]), bytes(words[4]),
                    MAPPER.readTree(words[5]), answer);
                break;
            case "header":
                ByteBuffer frame = ByteBuffer.wrap(bytes(words[1]));
                RequestHeader header = RequestHeader.parse(frame);
                short version = header.apiVersion();
                answer.put("key", header.apiKey().id).put("version", version);
                answer.put("correlation", header.correlationId()).put("client", header.clientId());
                answer.put("left", frame.remaining());
                answer.put("flexible_response", header.apiKey().responseHeaderVersion(version) > 0);
                break;
            case "batch":
                batches(bytes(words[1]), answer);
                break;
            case "scram":
                client = new ScramSaslClient(ScramMechanism.forMechanismName(words[1]),
                    namesAndPasswords(text(words[2]), text(words[3])));
                said(client.evaluateChallenge(new byte[0]), answer);
                break;
            case "bearer":
                String token = text(words[1]);
                client = new OAuthBearerSaslClient.OAuthBearerSaslClientFactory().createSaslClient(
                    new String[] {"OAUTHBEARER"}, null, "kafka", "localhost", Map.of(), tokens(token));
                said(client.evaluateChallenge(new byte[0]), answer);
                break;
            case "challenge":
                said(client.evaluateChallenge(bytes(words[1])), answer);
                break;
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static void message(
        short key, String direction, short version, byte[] bytes, JsonNode json, ObjectNode answer
    ) throws Exception {
        ApiMessageType type = ApiMessageType.fromApiKey(key);
        ApiMessage read = direction.equals("request") ? type.newRequest() : type.newResponse();
        Class<?> converter = Class.forName(read.getClass().getName() + "JsonConverter");
        ApiMessage made = (ApiMessage) converter.getMethod("read", JsonNode.class, short.class)
            .invoke(null, json, version);
        answer.put("wrote", HEX.formatHex(write(made, version)));
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        read.read(new ByteBufferAccessor(buffer), version);
        answer.put("left", buffer.remaining());
        answer.put("again", HEX.formatHex(write(read, version)));
        answer.set("read", (JsonNode) converter
            .getMethod("write", read.getClass(), short.class, boolean.class).invoke(null, read, version, false));
    }

    private static byte[] write(ApiMessage message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException("a size that is not that of the bytes");
        }
        return buffer.array();
    }

    private static void batches(byte[] bytes, ObjectNode answer) {
        ArrayNode all = answer.putArray("batches");
        StringBuilder made = new StringBuilder();
        for (MutableRecordBatch any : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
            DefaultRecordBatch batch = (DefaultRecordBatch) any;
            batch.ensureValid();
            ObjectNode node = all.addObject();
            node.put("baseOffset", batch.baseOffset()).put("lastOffset", batch.lastOffset());
            node.put("leaderEpoch", batch.partitionLeaderEpoch()).put("codec", batch.compressionType().id);
            node.put("logAppendTime", batch.timestampType() == TimestampType.LOG_APPEND_TIME);
            node.put("transactional", batch.isTransactional()).put("control", batch.isControlBatch());
            node.put("deleteHorizon", batch.deleteHorizonMs().orElse(-1));
            node.put("maxTimestamp", batch.maxTimestamp()).put("baseTimestamp", batch.baseTimestamp());
            node.put("producerId", batch.producerId()).put("producerEpoch", batch.producerEpoch());
            node.put("baseSequence", batch.baseSequence()).put("count", batch.countOrNull());
            ArrayNode records = node.putArray("records");
            MemoryRecordsBuilder builder = new MemoryRecordsBuilder(ByteBuffer.allocate(64),
                RecordBatch.MAGIC_VALUE_V2, Compression.of(batch.compressionType()).build(),
                batch.timestampType(), batch.baseOffset(), batch.maxTimestamp(), batch.producerId(),
                batch.producerEpoch(), batch.baseSequence(), batch.isTransactional(), batch.isControlBatch(),
                batch.partitionLeaderEpoch(), Integer.MAX_VALUE);
            for (org.apache.kafka.common.record.internal.Record record : batch) {
                ArrayNode headers = JSON.arrayNode();
                for (Header header : record.headers()) {
                    headers.addArray().add(header.key()).add(header.value());
                }
                records.addObject().put("offset", record.offset()).put("timestamp", record.timestamp())
                    .put("key", hex(record.key())).put("value", hex(record.value())).set("headers", headers);
                if (!batch.isControlBatch()) {
                    builder.appendWithOffset(record.offset(), record.timestamp(), record.key(), record.value(),
                        record.headers());
                }
            }
            if (!batch.isControlBatch() && batch.countOrNull() > 0) {
                ByteBuffer buffer = builder.build().buffer();
                byte[] copy = new byte[buffer.remaining()];
                buffer.get(copy);
                made.append(HEX.formatHex(copy));
            }
        }
        answer.put("made", made.toString());
    }

    private static String hex(ByteBuffer buffer) {
        if (buffer == null) {
            return null;
        }
        byte[] copy = new byte[buffer.remaining()];
        buffer.duplicate().get(copy);
        return HEX.formatHex(copy);
    }

    private static AuthenticateCallbackHandler namesAndPasswords(String name, String password) {
        return new Callbacks(callback -> {
            if (callback instanceof NameCallback) {
                ((NameCallback) callback).setName(name);
            } else if (callback instanceof PasswordCallback) {
                ((PasswordCallback) callback).setPassword(password.toCharArray());
            }
        });
    }

    private static AuthenticateCallbackHandler tokens(String value) {
        OAuthBearerToken token = new OAuthBearerToken() {
            public String value() {
                return value;
            }

            public Set<String> scope() {
                return Set.of();
            }

            public long lifetimeMs() {
                return Long.MAX_VALUE;
            }

            public String principalName() {
                return "principal";
            }

            public Long startTimeMs() {
                return null;
            }
        };
        return new Callbacks(callback -> {
            if (callback instanceof OAuthBearerTokenCallback) {
                ((OAuthBearerTokenCallback) callback).token(token);
            }
        });
    }

    private record Callbacks(Consumer<Callback> each) implements AuthenticateCallbackHandler {
        public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

        public void handle(Callback[] callbacks) {
            Arrays.stream(callbacks).forEach(each);
        }

        public void close() {}
    }

    private static void said(byte[] message, ObjectNode answer) {
        answer.put("says", message == null ? "" : HEX.formatHex(message)).put("complete", client.isComplete());
    }

    private static byte[] bytes(String hex) {
        return hex.equals("-") ? new byte[0] : HEX.parseHex(hex);
    }

    private static String text(String hex) {
        return new String(bytes(hex), StandardCharsets.UTF_8);
    }
}
