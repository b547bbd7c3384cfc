import java.io.BufferedReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/**
 * Kafka Streams' opinion on a stream: records, distinct subjects and the sum of values, by window and
 * key. Reads lines {"event_ms", "subject", "key", "value"} in the order of arrival, writes CSV.
 *
 * Nothing here knows of windows or of late records: all of that is the engine's. What the program adds
 * is to keep the last update of each row, and to count which subjects have one.
 */
public final class Windows {
    /** Name of the case, length, distance between beginnings, grace; all in minutes. */
    private record Case(String name, long size, long every, long grace) {
        TimeWindows windows() {
            return TimeWindows.ofSizeAndGrace(Duration.ofMinutes(size), Duration.ofMinutes(grace))
                .advanceBy(Duration.ofMinutes(every));
        }
    }

    private static final List<Case> CASES = List.of(
        new Case("tumbling-60-grace-120", 60, 60, 120),
        new Case("tumbling-15-grace-30", 15, 15, 30),
        new Case("tumbling-15-grace-0", 15, 15, 0),
        new Case("hopping-180-60-grace-1440", 180, 60, 1440),
        new Case("hopping-180-60-grace-60", 180, 60, 60));

    private record Line(long eventMs, String subject, String key, long value) {}

    /** A row of the result, in the order in which rows are written. */
    private record Row(long startMs, long endMs, String key) implements Comparable<Row> {
        @Override
        public int compareTo(Row other) {
            int byStart = Long.compare(startMs, other.startMs);
            return byStart != 0 ? byStart : key.compareTo(other.key);
        }
    }

    public static void main(String[] args) throws Exception {
        List<Line> lines = read(Path.of(args[0]));
        try (PrintStream out = new PrintStream(args[1], StandardCharsets.UTF_8)) {
            out.println("case,start_ms,end_ms,key,count,subjects,value");
            for (Case one : CASES) {
                run(one, lines, out);
            }
        }
    }

    private static List<Line> read(Path file) throws Exception {
        ObjectMapper json = new ObjectMapper();
        List<Line> lines = new ArrayList<>();
        try (BufferedReader reader = Files.newBufferedReader(file)) {
            for (String text = reader.readLine(); text != null; text = reader.readLine()) {
                JsonNode line = json.readTree(text);
                lines.add(new Line(line.get("event_ms").asLong(), line.get("subject").asText(),
                    line.get("key").asText(), line.get("value").asLong()));
            }
        }
        return lines;
    }

    private static void run(Case one, List<Line> lines, PrintStream out) {
        Serde<String> text = Serdes.String();
        Serde<Long> number = Serdes.Long();
        StreamsBuilder builder = new StreamsBuilder();
        KGroupedStream<String, Long> byKey =
            builder.stream("by-key", Consumed.with(text, number)).groupByKey(Grouped.with(text, number));
        byKey.windowedBy(one.windows()).count()
            .toStream((at, count) -> name(at)).to("counts", Produced.with(text, number));
        byKey.windowedBy(one.windows()).reduce(Long::sum, Materialized.with(text, number))
            .toStream((at, sum) -> name(at)).to("sums", Produced.with(text, number));
        builder.stream("by-subject", Consumed.with(text, number)).groupByKey(Grouped.with(text, number))
            .windowedBy(one.windows()).count()
            .toStream((at, count) -> name(at)).to("subjects", Produced.with(text, number));

        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, one.name());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.LongSerde.class);
        settings.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
            BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);

        Map<Row, long[]> rows = new TreeMap<>();
        long dropped;
        try (TopologyTestDriver engine = new TopologyTestDriver(builder.build(), settings, Instant.EPOCH)) {
            TestInputTopic<String, Long> byKeyIn =
                engine.createInputTopic("by-key", text.serializer(), number.serializer());
            TestInputTopic<String, Long> bySubjectIn =
                engine.createInputTopic("by-subject", text.serializer(), number.serializer());
            List<TestOutputTopic<String, Long>> results = new ArrayList<>();
            for (String topic : List.of("counts", "subjects", "sums")) {
                results.add(engine.createOutputTopic(topic, text.deserializer(), number.deserializer()));
            }
            for (Line line : lines) {
                Instant at = Instant.ofEpochMilli(line.eventMs());
                byKeyIn.pipeInput(line.key(), line.value(), at);
                bySubjectIn.pipeInput(line.key() + "\t" + line.subject(), line.value(), at);
                collect(results, rows);
            }
            dropped = dropped(engine);
        }
        rows.forEach((row, n) -> out.println(one.name() + "," + row.startMs() + "," + row.endMs() + ","
            + row.key() + "," + n[0] + "," + n[1] + "," + n[2]));
        System.err.printf("%s: %d rows; the engine dropped %d of %d additions as late%n",
            one.name(), rows.size(), dropped, additions(one, lines.size()));
    }

    /** Takes what the engine has said since the last time. */
    private static void collect(List<TestOutputTopic<String, Long>> results, Map<Row, long[]> rows) {
        for (int n = 0; n < results.size(); n++) {
            for (KeyValue<String, Long> update : results.get(n).readKeyValuesToList()) {
                String[] parts = update.key.split("\t");
                Row row = new Row(Long.parseLong(parts[0]), Long.parseLong(parts[1]), parts[2]);
                long[] numbers = rows.computeIfAbsent(row, r -> new long[3]);
                if (n != 1) {
                    numbers[n] = update.value;
                } else if (update.value == 1) {
                    // A subject's first record in this window and key.
                    numbers[n]++;
                }
            }
        }
    }

    private static String name(Windowed<String> at) {
        return at.window().start() + "\t" + at.window().end() + "\t" + at.key();
    }

    /** Of the three aggregations, a record goes to as many windows as there are, in each. */
    private static long additions(Case one, long lines) {
        return 3 * lines * (one.size() / one.every());
    }

    private static long dropped(TopologyTestDriver engine) {
        return engine.metrics().entrySet().stream()
            .filter(m -> m.getKey().name().equals("dropped-records-total"))
            .mapToLong(m -> (long) (double) (Double) m.getValue().metricValue())
            .sum();
    }
}
