import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.StringJoiner;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's Java client as a client program; {@code ../records.py} describes the lines it reads and writes. */
public final class Client {
    private static final int SECONDS_MAX = 30;

    private Client() {}

    private static String encode(byte[] value) {
        return value == null ? "-" : "x" + HexFormat.of().formatHex(value);
    }

    private static byte[] decode(String word) {
        return word.equals("-") ? null : HexFormat.of().parseHex(word.substring(1));
    }

    private static ProducerRecord<byte[], byte[]> decodeRecord(String topic, String line) {
        String[] words = line.split(" ");
        List<Header> headers = new ArrayList<>();
        if (!words[4].equals("-")) {
            for (String pair : words[4].split(",")) {
                String[] parts = pair.split(":");
                headers.add(new RecordHeader(parts[0], decode(parts[1])));
            }
        }
        int partition = Integer.parseInt(words[0]);
        long timestamp = Long.parseLong(words[1]);
        return new ProducerRecord<>(topic, partition, timestamp, decode(words[2]), decode(words[3]), headers);
    }

    private static String encodeConsumed(ConsumerRecord<byte[], byte[]> record) {
        StringJoiner headers = new StringJoiner(",").setEmptyValue("-");
        for (Header header : record.headers()) {
            headers.add(header.key() + ":" + encode(header.value()));
        }
        return String.format("%s %d %d %d %s %s %s", record.topic(), record.partition(), record.offset(),
            record.timestamp(), encode(record.key()), encode(record.value()), headers);
    }

    private static Properties connectTo(String bootstrap) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        return properties;
    }

    private static void create(String bootstrap, String[] arguments) throws Exception {
        short replicationFactor = Short.parseShort(arguments[0]);
        int partitions = Integer.parseInt(arguments[1]);
        // The records carry old timestamps: retention by time would delete them.
        Map<String, String> configs = Map.of("retention.ms", "-1");
        List<NewTopic> topics = Arrays.stream(arguments).skip(2)
            .map(topic -> new NewTopic(topic, partitions, replicationFactor).configs(configs))
            .toList();
        try (Admin admin = Admin.create(connectTo(bootstrap))) {
            admin.createTopics(topics).all().get(SECONDS_MAX, TimeUnit.SECONDS);
        }
    }

    private static void produce(String bootstrap, String topic, String codec) throws Exception {
        Properties properties = connectTo(bootstrap);
        properties.put("compression.type", codec);
        properties.put("linger.ms", 20);
        properties.put("request.timeout.ms", SECONDS_MAX * 500);
        properties.put("delivery.timeout.ms", SECONDS_MAX * 1000);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                futures.add(producer.send(decodeRecord(topic, line)));
            }
            producer.flush();
            for (int index = 0; index < futures.size(); index++) {
                long offset = futures.get(index).get(SECONDS_MAX, TimeUnit.SECONDS).offset();
                System.out.println(index + " " + offset);
            }
        }
    }

    /**
     * Produces every line of the input as it comes, with the client's defaults and its own choice of partitions, and says
     * of each record what became of it.
     */
    private static void stream(String bootstrap, String topic) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(connectTo(bootstrap), new ByteArraySerializer(), new ByteArraySerializer())) {
            int next = 0;
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                ProducerRecord<byte[], byte[]> read = decodeRecord(topic, line);
                int index = next++;
                producer.send(new ProducerRecord<>(topic, null, read.timestamp(), read.key(), read.value()),
                    (metadata, error) -> System.out.println(error != null
                        ? "failed " + index + " " + error.toString().replace('\n', ' ')
                        : "acknowledged " + index + " " + metadata.partition() + " " + metadata.offset()));
            }
            producer.flush();
        }
    }

    private static void consume(String bootstrap, String[] topics) {
        Properties properties = connectTo(bootstrap);
        properties.put("enable.auto.commit", false);
        properties.put("auto.offset.reset", "none");
        properties.put("default.api.timeout.ms", SECONDS_MAX * 1000);
        try (KafkaConsumer<byte[], byte[]> consumer =
                    new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                PrintStream output = new PrintStream(System.out, false, StandardCharsets.US_ASCII)) {
            for (String topic : topics) {
                try {
                    consumeTopic(consumer, topic, output);
                } catch (RuntimeException error) {
                    // One topic that cannot be read must not hide the others.
                    output.println(topic + " error " + error.toString().replace('\n', ' '));
                }
            }
        }
    }

    private static void consumeTopic(
            KafkaConsumer<byte[], byte[]> consumer, String topic, PrintStream output) {
        List<TopicPartition> assignment = consumer.partitionsFor(topic).stream()
            .map(info -> new TopicPartition(topic, info.partition()))
            .toList();
        consumer.assign(assignment);
        consumer.seekToBeginning(assignment);
        Map<TopicPartition, Long> ends = consumer.endOffsets(assignment);
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS_MAX);
        while (assignment.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("not at the end after " + SECONDS_MAX + " s");
            }
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                output.println(encodeConsumed(record));
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[1];
        String[] rest = Arrays.copyOfRange(arguments, 2, arguments.length);
        switch (arguments[0]) {
            case "create" -> create(bootstrap, rest);
            case "produce" -> produce(bootstrap, rest[0], rest[1]);
            case "stream" -> stream(bootstrap, rest[0]);
            case "consume" -> consume(bootstrap, rest);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }
}
