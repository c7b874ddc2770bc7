import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.Record;

/**
 * Speaks Kafka's protocol to one broker, a request a line, by the message classes of Apache Kafka itself.
 *
 * <p>Reads JSON, a line a request: {@code connection} (a name; it is made when first used), {@code address},
 * {@code api} (as Kafka's schemas spell it), {@code version}, and {@code request}, the fields that differ from their
 * defaults, records as Base64; or {@code bytes}, a whole frame without its length in hexadecimal digits.
 * {@code answer_version} reads the answer at another version, {@code seconds} bounds the wait, {@code oneway} does not
 * wait, {@code close} closes the connection first.
 *
 * <p>Writes JSON, a line a request: {@code answer}, with batches of records taken apart, and {@code recordsCut} where
 * the last was sent in part; {@code closed}, {@code silent} or {@code sent} where there is none; {@code unreadable}, why
 * the answer is not one; {@code cannot}, why Kafka's classes do not write this request at this version; {@code mistake},
 * why it is no request of theirs at all.
 */
public final class Peer {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String CLIENT_ID = "conformity";

    private final Map<String, Socket> connections = new HashMap<>();
    private int correlation;

    public static void main(String[] arguments) throws IOException {
        Peer peer = new Peer();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(JSON.writeValueAsString(peer.take(JSON.readTree(line))));
        }
    }

    private ObjectNode take(JsonNode order) {
        ObjectNode result = JsonNodeFactory.instance.objectNode();
        ApiMessageType api = order.has("api") ? api(order.get("api").asText()) : null;
        short version = (short) order.path("version").asInt();
        correlation++;
        ByteBuffer frame;
        try {
            frame = order.has("bytes")
                ? ByteBuffer.wrap(HexFormat.of().parseHex(order.get("bytes").asText()))
                : frame(api, version, order.get("request"));
        } catch (ReflectiveOperationException | IllegalArgumentException error) {
            return result.put("mistake", cause(error).toString());
        } catch (RuntimeException error) {
            return result.put("cannot", error.toString());
        }
        String name = order.get("connection").asText();
        try {
            if (order.path("close").asBoolean()) {
                drop(name);
            }
            Socket socket = connection(name, order.get("address").asText());
            socket.setSoTimeout(order.path("seconds").asInt(20) * 1000);
            OutputStream out = socket.getOutputStream();
            out.write(ByteBuffer.allocate(4 + frame.remaining()).putInt(frame.remaining()).put(frame).array());
            out.flush();
            if (order.path("oneway").asBoolean()) {
                return result.put("sent", true);
            }
            DataInputStream in = new DataInputStream(socket.getInputStream());
            byte[] answer = new byte[in.readInt()];
            in.readFully(answer);
            short answerVersion = (short) order.path("answer_version").asInt(version);
            if (api == null) {
                return result.put("answer", HexFormat.of().formatHex(answer));
            }
            read(api, answerVersion, ByteBuffer.wrap(answer), result);
        } catch (SocketTimeoutException error) {
            drop(name);
            result.put("silent", true);
        } catch (EOFException | java.net.SocketException error) {
            drop(name);
            result.put("closed", true);
        } catch (IOException error) {
            drop(name);
            result.put("unreadable", error.toString());
        }
        return result;
    }

    private Socket connection(String name, String address) throws IOException {
        Socket socket = connections.get(name);
        if (socket == null) {
            int colon = address.lastIndexOf(':');
            socket = new Socket(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)));
            socket.setTcpNoDelay(true);
            connections.put(name, socket);
        }
        return socket;
    }

    private void drop(String name) {
        Socket socket = connections.remove(name);
        if (socket != null) {
            try {
                socket.close();
            } catch (IOException error) {
                // It is gone all the same.
            }
        }
    }

    private static ApiMessageType api(String name) {
        for (ApiMessageType api : ApiMessageType.values()) {
            if (api.name.equals(name)) {
                return api;
            }
        }
        throw new IllegalArgumentException("no API is called " + name);
    }

    private ByteBuffer frame(ApiMessageType api, short version, JsonNode fields) throws ReflectiveOperationException {
        ApiMessage body = api.newRequest();
        fill(body, fields);
        RequestHeaderData header = new RequestHeaderData()
            .setRequestApiKey(api.apiKey())
            .setRequestApiVersion(version)
            .setCorrelationId(correlation)
            .setClientId(CLIENT_ID);
        ByteBuffer head = MessageUtil.toByteBufferAccessor(header, api.requestHeaderVersion(version)).buffer();
        ByteBuffer rest = MessageUtil.toByteBufferAccessor(body, version).buffer();
        ByteBuffer frame = ByteBuffer.allocate(head.remaining() + rest.remaining());
        frame.put(head).put(rest).flip();
        return frame;
    }

    private void read(ApiMessageType api, short version, ByteBuffer bytes, ObjectNode result) {
        try {
            ByteBufferAccessor readable = new ByteBufferAccessor(bytes);
            ResponseHeaderData header = new ResponseHeaderData(readable, api.responseHeaderVersion(version));
            ApiMessage answer = api.newResponse();
            answer.read(readable, version);
            if (bytes.hasRemaining()) {
                result.put("unreadable", bytes.remaining() + " bytes are left over");
                return;
            }
            Class<?> converter = Class.forName(answer.getClass().getName() + "JsonConverter");
            Method write = converter.getMethod("write", answer.getClass(), short.class, boolean.class);
            ObjectNode json = (ObjectNode) write.invoke(null, answer, version, false);
            if (answer instanceof FetchResponseData fetched) {
                showRecords(fetched, json);
            }
            showErrors(json);
            result.set("answer", json);
        } catch (RuntimeException | ReflectiveOperationException error) {
            result.put("unreadable", cause(error).toString());
        }
    }

    private static Throwable cause(Throwable error) {
        return error instanceof InvocationTargetException && error.getCause() != null ? error.getCause() : error;
    }

    /** Error codes by their names. */
    private static void showErrors(JsonNode node) {
        if (node instanceof ObjectNode object) {
            JsonNode code = object.get("errorCode");
            if (code != null && code.isNumber()) {
                Errors error = Errors.forCode((short) code.asInt());
                object.put("errorCode", error.name());
            }
        }
        node.forEach(Peer::showErrors);
    }

    /** Puts the batches of a fetch, taken apart, in the place of their length. */
    private static void showRecords(FetchResponseData fetched, ObjectNode json) {
        for (int i = 0; i < fetched.responses().size(); i++) {
            List<FetchResponseData.PartitionData> partitions = fetched.responses().get(i).partitions();
            for (int j = 0; j < partitions.size(); j++) {
                ObjectNode place = (ObjectNode) json.get("responses").get(i).get("partitions").get(j);
                place.remove("recordsSizeInBytes");
                MemoryRecords records = (MemoryRecords) partitions.get(j).records();
                place.set("records", batches(records));
                place.put("recordsCut", records != null && records.sizeInBytes() > records.validBytes());
            }
        }
    }

    private static JsonNode batches(MemoryRecords records) {
        if (records == null) {
            return JsonNodeFactory.instance.nullNode();
        }
        ArrayNode batches = JsonNodeFactory.instance.arrayNode();
        for (RecordBatch batch : records.batches()) {
            ObjectNode shown = batches.addObject();
            shown.put("offsets", "[" + batch.baseOffset() + "," + batch.nextOffset() + ")");
            shown.put("size", batch.sizeInBytes());
            shown.put("magic", batch.magic());
            shown.put("valid", batch.isValid());
            shown.put("leaderEpoch", batch.partitionLeaderEpoch());
            shown.put("timestampType", batch.timestampType().toString());
            shown.put("maxTimestamp", batch.maxTimestamp());
            shown.put("codec", batch.compressionType().toString());
            shown.put("transactional", batch.isTransactional());
            shown.put("control", batch.isControlBatch());
            shown.put("producerId", batch.producerId());
            shown.put("producerEpoch", batch.producerEpoch());
            shown.put("baseSequence", batch.baseSequence());
            ArrayNode values = shown.putArray("records");
            for (Record record : batch) {
                values.addObject()
                    .put("timestamp", record.timestamp())
                    .put("key", text(record.key()))
                    .put("value", text(record.value()));
            }
        }
        return batches;
    }

    private static String text(ByteBuffer bytes) {
        return bytes == null ? null : StandardCharsets.UTF_8.decode(bytes).toString();
    }

    /** Sets the fields of a message that are given. */
    private static void fill(Object message, JsonNode fields) throws ReflectiveOperationException {
        for (Map.Entry<String, JsonNode> field : fields.properties()) {
            String name = field.getKey();
            String setter = "set" + Character.toUpperCase(name.charAt(0)) + name.substring(1);
            Method found = null;
            for (Method method : message.getClass().getMethods()) {
                if (method.getName().equals(setter) && method.getParameterCount() == 1) {
                    found = method;
                }
            }
            if (found == null) {
                throw new NoSuchMethodException(message.getClass().getSimpleName() + " has no field " + name);
            }
            found.invoke(message, value(field.getValue(), found.getGenericParameterTypes()[0]));
        }
    }

    private static Object value(JsonNode node, Type type) throws ReflectiveOperationException {
        if (node.isNull()) {
            return null;
        }
        if (type instanceof ParameterizedType list) {
            return all(node, list.getActualTypeArguments()[0], new ArrayList<>());
        }
        Class<?> plain = (Class<?>) type;
        if (plain == boolean.class) {
            return node.asBoolean();
        } else if (plain == byte.class) {
            return (byte) node.asInt();
        } else if (plain == short.class || plain == Short.class) {
            return (short) node.asInt();
        } else if (plain == int.class || plain == Integer.class) {
            return node.asInt();
        } else if (plain == long.class || plain == Long.class) {
            return node.asLong();
        } else if (plain == String.class) {
            return node.asText();
        } else if (plain == Uuid.class) {
            return Uuid.fromString(node.asText());
        } else if (plain == BaseRecords.class) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(Base64.getDecoder().decode(node.asText())));
        } else if (Collection.class.isAssignableFrom(plain)) {
            Type element = ((ParameterizedType) plain.getGenericSuperclass()).getActualTypeArguments()[0];
            @SuppressWarnings("unchecked")
            Collection<Object> collection = (Collection<Object>) plain.getConstructor().newInstance();
            return all(node, element, collection);
        }
        Object struct = plain.getConstructor().newInstance();
        fill(struct, node);
        return struct;
    }

    private static Collection<Object> all(JsonNode nodes, Type element, Collection<Object> into)
            throws ReflectiveOperationException {
        for (JsonNode node : nodes) {
            into.add(value(node, element));
        }
        return into;
    }
}
