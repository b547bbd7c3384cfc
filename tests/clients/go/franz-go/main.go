// franz-go behind the command line of `run`.
package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	. "sluicegate.test/clients/common"
)

func main() {
	if Env("ACTION", "") == "produce" {
		produce()
	} else {
		consume()
	}
}

func settings(more ...kgo.Opt) []kgo.Opt {
	to := append([]kgo.Opt{kgo.SeedBrokers(strings.Split(Env("BOOTSTRAP", ""), ",")...)}, more...)
	if config := TLS(); config != nil {
		to = append(to, kgo.DialTLSConfig(config))
	}
	user, password := Env("USERNAME", ""), Env("PASSWORD", "")
	switch Mechanism() {
	case "PLAIN":
		to = append(to, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
	case "SCRAM-SHA-256":
		to = append(to, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		to = append(to, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	case "OAUTHBEARER":
		to = append(to, kgo.SASL(oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			return oauth.Auth{Token: Token()}, nil
		})))
	}
	return to
}

func produce() {
	count, wait := Number("COUNT", 1), Seconds(30)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	to := settings(
		kgo.ProducerBatchCompression(codecs[Env("CODEC", "none")]), kgo.RequiredAcks(acks[Env("ACKS", "all")]),
		kgo.RecordDeliveryTimeout(wait), kgo.RetryTimeout(wait),
	)
	if Has("TRANSACTION") {
		to = append(to, kgo.TransactionalID(Env("TRANSACTION", "")))
	} else if !Has("IDEMPOTENT") {
		to = append(to, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(to...)
	if err != nil {
		Done(count, err)
		return
	}
	defer client.Close()
	// It gives up a record of an idempotent producer only if nothing was sent, unless the context ends.
	within, cancel := context.WithTimeout(context.Background(), 2*wait)
	defer cancel()
	if Has("TRANSACTION") {
		if err := client.BeginTransaction(); err != nil {
			Done(count, err)
			return
		}
	}
	var open sync.WaitGroup
	for n := range count {
		open.Add(1)
		client.Produce(within, record(n), func(record *kgo.Record, err error) {
			defer open.Done()
			if err != nil {
				Refused(n, err)
			} else {
				Acked(n, record.Partition, record.Offset)
			}
		})
	}
	open.Wait()
	if Has("TRANSACTION") {
		err = client.EndTransaction(within, kgo.TransactionEndTry(!Has("ABORT")))
	}
	Done(count, err)
}

func record(n int) *kgo.Record {
	record := &kgo.Record{Topic: Env("TOPIC", ""), Key: Key(n), Value: Value(n)}
	for _, header := range Headers(n) {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
	}
	return record
}

func consume() {
	most, wait := Number("MAX", 1<<60), Seconds(10)
	start, isolation := kgo.NewOffset().AtEnd(), kgo.ReadUncommitted()
	if Has("FROM_BEGINNING") {
		start = kgo.NewOffset().AtStart()
	}
	if Env("ISOLATION", "") == "read_committed" {
		isolation = kgo.ReadCommitted()
	}
	to := settings(
		kgo.ConsumerGroup(Env("GROUP", "")), kgo.ConsumeTopics(Env("TOPIC", "")), kgo.ConsumeResetOffset(start),
		kgo.FetchIsolationLevel(isolation), kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll(),
	)
	if Env("PROTOCOL", "classic") == "consumer" {
		to = append(to, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	}
	if Has("STATIC") {
		to = append(to, kgo.InstanceID(Env("STATIC", "")))
	}
	client, err := kgo.NewClient(to...)
	if err != nil {
		Done(0, err)
		return
	}
	count, last, failed := 0, time.Now(), error(nil)
	for count < most && time.Since(last) < wait && failed == nil {
		within, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		fetches := client.PollRecords(within, min(most-count, 1000))
		cancel()
		for _, fetch := range fetches.Errors() {
			if !errors.Is(fetch.Err, context.DeadlineExceeded) {
				failed = fetch.Err
			}
		}
		for _, record := range fetches.Records() {
			headers := []Header{}
			for _, header := range record.Headers {
				headers = append(headers, Header{Name: header.Key, Value: header.Value})
			}
			Read(record.Partition, record.Offset, record.Timestamp, record.Key, record.Value, headers)
			client.MarkCommitRecords(record)
			count, last = count+1, time.Now()
		}
		client.AllowRebalance()
	}
	within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	if count > 0 {
		failed = errors.Join(failed, client.CommitMarkedOffsets(within))
	}
	cancel()
	client.CloseAllowingRebalance()
	Done(count, failed)
}
