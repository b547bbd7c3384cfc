// Sarama behind the command line of `run`.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/xdg-go/scram"

	. "sluicegate.test/clients/common"
)

func main() {
	if Env("ACTION", "") == "produce" {
		produce()
	} else {
		consume()
	}
}

// named gives an error of Kafka's its name; where it is wrapped as text, by that text.
func named(err error) error {
	var known sarama.KError
	if errors.As(err, &known) && known > 0 {
		return kerr.ErrorForCode(int16(known))
	}
	for code := int16(1); err != nil && code < 130; code++ {
		if strings.Contains(err.Error(), sarama.KError(code).Error()) {
			return kerr.ErrorForCode(code)
		}
	}
	return err
}

// login is the SCRAM client that Sarama leaves to its users.
type login struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (l *login) Begin(user, password, authz string) error {
	client, err := l.hash.NewClient(user, password, authz)
	if err == nil {
		l.ClientConversation = client.NewConversation()
	}
	return err
}

type tokens struct{}

func (tokens) Token() (*sarama.AccessToken, error) { return &sarama.AccessToken{Token: Token()}, nil }

func settings() *sarama.Config {
	to := sarama.NewConfig()
	to.Version = sarama.MaxVersion
	to.Metadata.AllowAutoTopicCreation = false
	if config := TLS(); config != nil {
		to.Net.TLS.Enable, to.Net.TLS.Config = true, config
	}
	mechanism := Mechanism()
	if mechanism == "" {
		return to
	}
	to.Net.SASL.Enable, to.Net.SASL.Mechanism = true, sarama.SASLMechanism(mechanism)
	to.Net.SASL.User, to.Net.SASL.Password = Env("USERNAME", ""), Env("PASSWORD", "")
	to.Net.SASL.TokenProvider = tokens{}
	hashes := map[string]func() hash.Hash{"SCRAM-SHA-256": sha256.New, "SCRAM-SHA-512": sha512.New}
	to.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &login{hash: hashes[mechanism]} }
	return to
}

func produce() {
	count, wait, to := Number("COUNT", 1), Seconds(30), settings()
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
	acks := map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll}
	to.Producer.Compression, to.Producer.RequiredAcks = codecs[Env("CODEC", "none")], acks[Env("ACKS", "all")]
	to.Producer.Return.Successes = true
	to.Producer.Retry.Max = int(wait / to.Producer.Retry.Backoff)
	if Has("IDEMPOTENT") || Has("TRANSACTION") {
		to.Producer.Idempotent, to.Net.MaxOpenRequests = true, 1
		to.Producer.Transaction.ID = Env("TRANSACTION", "")
	}
	producer, err := sarama.NewAsyncProducer(strings.Split(Env("BOOTSTRAP", ""), ","), to)
	if err != nil {
		Done(count, named(err))
		return
	}
	if Has("TRANSACTION") {
		err = producer.BeginTxn()
	}
	var open sync.WaitGroup
	open.Add(count)
	go func() {
		for message := range producer.Successes() {
			Acked(message.Metadata.(int), message.Partition, message.Offset)
			open.Done()
		}
	}()
	go func() {
		for failed := range producer.Errors() {
			Refused(failed.Msg.Metadata.(int), named(failed.Err))
			open.Done()
		}
	}()
	for n := range count {
		producer.Input() <- message(n)
	}
	open.Wait()
	if err == nil && Has("ABORT") {
		err = producer.AbortTxn()
	} else if err == nil && Has("TRANSACTION") {
		err = producer.CommitTxn()
	}
	producer.AsyncClose()
	Done(count, named(err))
}

func message(n int) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: Env("TOPIC", ""), Metadata: n}
	if key := Key(n); key != nil {
		message.Key = sarama.ByteEncoder(key)
	}
	if value := Value(n); value != nil {
		message.Value = sarama.ByteEncoder(value)
	}
	for _, header := range Headers(n) {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
	}
	return message
}

// reader prints what it is handed until there was enough, or nothing for too long.
type reader struct {
	sync.Mutex
	count, most int
	last        time.Time
	stop        context.CancelFunc
}

func (*reader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*reader) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (r *reader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, more := <-claim.Messages():
			if !more || !r.read(message) {
				return nil
			}
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (r *reader) read(message *sarama.ConsumerMessage) bool {
	r.Lock()
	defer r.Unlock()
	if r.count == r.most {
		return false
	}
	headers := []Header{}
	for _, header := range message.Headers {
		headers = append(headers, Header{Name: string(header.Key), Value: header.Value})
	}
	Read(message.Partition, message.Offset, message.Timestamp, message.Key, message.Value, headers)
	r.count, r.last = r.count+1, time.Now()
	if r.count == r.most {
		r.stop()
	}
	return true
}

func consume() {
	to := settings()
	to.Consumer.Offsets.Initial = sarama.OffsetNewest
	if Has("FROM_BEGINNING") {
		to.Consumer.Offsets.Initial = sarama.OffsetOldest
	}
	if Env("ISOLATION", "") == "read_committed" {
		to.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	to.Consumer.Group.InstanceId = Env("STATIC", "")
	group, err := sarama.NewConsumerGroup(strings.Split(Env("BOOTSTRAP", ""), ","), Env("GROUP", ""), to)
	if err != nil {
		Done(0, named(err))
		return
	}
	running, stop := context.WithCancel(context.Background())
	reader := &reader{most: Number("MAX", math.MaxInt), last: time.Now(), stop: stop}
	go func() {
		for running.Err() == nil {
			time.Sleep(200 * time.Millisecond)
			reader.Lock()
			if time.Since(reader.last) > Seconds(10) {
				stop()
			}
			reader.Unlock()
		}
	}()
	var failed error
	for running.Err() == nil {
		if err := named(group.Consume(running, []string{Env("TOPIC", "")}, reader)); err != nil && Final(err) {
			failed = err
			stop()
		}
	}
	group.Close()
	Done(reader.count, failed)
}
