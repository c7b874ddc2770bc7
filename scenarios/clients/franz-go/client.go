// franz-go as a client program; ../records.py describes the lines it reads and writes.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const timeout = 30 * time.Second

// A line is at most one record of the plan in hexadecimal; this is far more.
const lineBytesMax = 8 << 20

func encode(value []byte) string {
	if value == nil {
		return "-"
	}
	return "x" + hex.EncodeToString(value)
}

func decode(word string) ([]byte, error) {
	if word == "-" {
		return nil, nil
	}
	if !strings.HasPrefix(word, "x") {
		return nil, fmt.Errorf("%q is neither null nor bytes", word)
	}
	return hex.DecodeString(word[1:])
}

func decodeRecord(line string) (*kgo.Record, error) {
	words := strings.Fields(line)
	if len(words) != 5 {
		return nil, fmt.Errorf("%d words in a line", len(words))
	}
	partition, err := strconv.ParseInt(words[0], 10, 32)
	if err != nil {
		return nil, err
	}
	timestamp, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return nil, err
	}
	record := &kgo.Record{Partition: int32(partition), Timestamp: time.UnixMilli(timestamp)}
	if record.Key, err = decode(words[2]); err != nil {
		return nil, err
	}
	if record.Value, err = decode(words[3]); err != nil {
		return nil, err
	}
	if words[4] != "-" {
		for _, pair := range strings.Split(words[4], ",") {
			name, word, _ := strings.Cut(pair, ":")
			value, err := decode(word)
			if err != nil {
				return nil, err
			}
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: value})
		}
	}
	return record, nil
}

func encodeConsumed(record *kgo.Record) string {
	headers := make([]string, 0, len(record.Headers))
	for _, header := range record.Headers {
		headers = append(headers, header.Key+":"+encode(header.Value))
	}
	joined := strings.Join(headers, ",")
	if joined == "" {
		joined = "-"
	}
	return fmt.Sprintf("%s %d %d %d %s %s %s", record.Topic, record.Partition, record.Offset,
		record.Timestamp.UnixMilli(), encode(record.Key), encode(record.Value), joined)
}

func connect(bootstrap string, options ...kgo.Opt) (*kgo.Client, error) {
	options = append(options, kgo.SeedBrokers(strings.Split(bootstrap, ",")...))
	return kgo.NewClient(options...)
}

func create(bootstrap string, arguments []string) error {
	replicationFactor, err := strconv.ParseInt(arguments[0], 10, 16)
	if err != nil {
		return err
	}
	partitions, err := strconv.ParseInt(arguments[1], 10, 32)
	if err != nil {
		return err
	}
	client, err := connect(bootstrap)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// The records carry old timestamps: retention by time would delete them.
	configs := map[string]*string{"retention.ms": kadm.StringPtr("-1")}
	responses, err := kadm.NewClient(client).CreateTopics(
		ctx, int32(partitions), int16(replicationFactor), configs, arguments[2:]...)
	if err != nil {
		return err
	}
	return responses.Error()
}

func produce(bootstrap, topic, codec string) error {
	codecs := map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
	client, err := connect(bootstrap,
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(codecs[codec]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(20*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	var records []*kgo.Record
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		record, err := decodeRecord(lines.Text())
		if err != nil {
			return err
		}
		records = append(records, record)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	for index, record := range records {
		fmt.Println(index, record.Offset)
	}
	return nil
}

// Produces every line of the input as it comes, with the client's defaults and its own choice of partitions, and says of
// each record what became of it.
func stream(bootstrap, topic string) error {
	client, err := connect(bootstrap, kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	var printing sync.Mutex
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineBytesMax)
	for index := 0; lines.Scan(); index++ {
		record, err := decodeRecord(lines.Text())
		if err != nil {
			return err
		}
		client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			printing.Lock()
			defer printing.Unlock()
			if err != nil {
				fmt.Println("failed", index, strings.ReplaceAll(err.Error(), "\n", " "))
			} else {
				fmt.Println("acknowledged", index, record.Partition, record.Offset)
			}
		})
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return client.Flush(context.Background())
}

func consume(bootstrap string, topics []string) error {
	output := bufio.NewWriter(os.Stdout)
	for _, topic := range topics {
		// One topic that cannot be read must not hide the others.
		if err := consumeTopic(bootstrap, topic, output); err != nil {
			fmt.Fprintln(output, topic, "error", strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	return output.Flush()
}

func consumeTopic(bootstrap, topic string, output *bufio.Writer) error {
	admin, err := connect(bootstrap)
	if err != nil {
		return err
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ends, err := kadm.NewClient(admin).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	if err := ends.Error(); err != nil {
		return err
	}
	assignment := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	for partition, end := range ends[topic] {
		assignment[partition] = kgo.NewOffset().AtStart()
		if end.Offset > 0 {
			left[partition] = end.Offset
		}
	}
	client, err := connect(bootstrap,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assignment}))
	if err != nil {
		return err
	}
	defer client.Close()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Fprintln(output, encodeConsumed(record))
			if end, ok := left[record.Partition]; ok && record.Offset+1 >= end {
				delete(left, record.Partition)
			}
		})
	}
	return nil
}

func main() {
	verb, bootstrap, rest := os.Args[1], os.Args[2], os.Args[3:]
	var err error
	switch verb {
	case "create":
		err = create(bootstrap, rest)
	case "produce":
		err = produce(bootstrap, rest[0], rest[1])
	case "stream":
		err = stream(bootstrap, rest[0])
	case "consume":
		err = consume(bootstrap, rest)
	default:
		err = errors.New("no such verb: " + verb)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
