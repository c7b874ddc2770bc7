import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.StringJoiner;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.internals.BufferSupplier;
import org.apache.kafka.common.utils.internals.CloseableIterator;

/** The Java client's reading and writing of record batches; {@code ../readable.py} describes the lines. */
public final class Batches {
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
        boolean reads = arguments[0].equals("read");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(reads ? read(line) : write(line));
        }
    }

    /** As the consumer does. */
    private static String read(String line) {
        StringJoiner found = new StringJoiner(";");
        try (BufferSupplier buffers = BufferSupplier.create()) {
            for (RecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(HEX.parseHex(line))).batches()) {
                batch.ensureValid();
                try (CloseableIterator<Record> records = batch.streamingIterator(buffers)) {
                    while (records.hasNext()) {
                        Record record = records.next();
                        record.ensureValid();
                        found.add(record.offset() + " " + record.timestamp() + " " + bytes(record.key()) + " "
                            + bytes(record.value()) + " " + headers(record.headers()));
                    }
                }
            }
        } catch (RuntimeException | Error error) {
            return "unreadable " + error.toString().replace('\n', ' ');
        }
        return found.toString();
    }

    private static String headers(Header[] headers) {
        StringJoiner all = new StringJoiner(",").setEmptyValue("-");
        for (Header header : headers) {
            byte[] value = header.value();
            all.add(bytes(ByteBuffer.wrap(header.key().getBytes(StandardCharsets.UTF_8))) + ":"
                + bytes(value == null ? null : ByteBuffer.wrap(value)));
        }
        return all.toString();
    }

    private static String bytes(ByteBuffer buffer) {
        if (buffer == null) {
            return "-";
        }
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return "x" + HEX.formatHex(bytes);
    }

    private static String write(String line) {
        String[] halves = line.split(" ", 2);
        Compression codec = Compression.of(CompressionType.forName(halves[0])).build();
        SimpleRecord[] records = Arrays.stream(halves[1].split(";")).map(Batches::record).toArray(SimpleRecord[]::new);
        ByteBuffer buffer = MemoryRecords.withRecords(codec, records).buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return HEX.formatHex(bytes);
    }

    private static SimpleRecord record(String line) {
        String[] fields = line.split(" ");
        Header[] headers = fields[3].equals("-")
            ? new Header[0]
            : Arrays.stream(fields[3].split(",")).map(Batches::header).toArray(Header[]::new);
        return new SimpleRecord(Long.parseLong(fields[0]), bytes(fields[1]), bytes(fields[2]), headers);
    }

    private static Header header(String pair) {
        String[] halves = pair.split(":");
        return new RecordHeader(new String(bytes(halves[0]), StandardCharsets.UTF_8), bytes(halves[1]));
    }

    private static byte[] bytes(String word) {
        return word.equals("-") ? null : HEX.parseHex(word.substring(1));
    }
}
