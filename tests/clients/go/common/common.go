// Package common is what both Go programs share: settings from the variables of `run`, records, lines of JSON.
package common

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

func Env(name, otherwise string) string {
	if value, set := os.LookupEnv("CLIENT_" + name); set {
		return value
	}
	return otherwise
}

func Has(name string) bool { return Env(name, "") != "" }

func Number(name string, otherwise int) int {
	number, err := strconv.Atoi(Env(name, strconv.Itoa(otherwise)))
	if err != nil {
		panic(err)
	}
	return number
}

func Seconds(otherwise int) time.Duration {
	return time.Duration(Number("TIMEOUT_S", otherwise)) * time.Second
}

var printing sync.Mutex

func say(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(text))
}

func Acked(n int, partition int32, offset int64) {
	say(map[string]any{"n": n, "partition": partition, "offset": offset})
}

func Refused(n int, err error) { say(map[string]any{"n": n, "error": Code(err)}) }

func Done(count int, err error) {
	line := map[string]any{"done": count}
	if err != nil {
		line["error"] = Code(err)
	}
	say(line)
}

type Header struct {
	Name  string
	Value []byte
}

func Read(partition int32, offset int64, at time.Time, key, value []byte, headers []Header) {
	pairs := [][]any{}
	for _, header := range headers {
		pairs = append(pairs, []any{header.Name, text(header.Value)})
	}
	say(map[string]any{
		"partition": partition, "offset": offset, "timestamp": at.UnixMilli(),
		"key": text(key), "value": text(value), "headers": pairs,
	})
}

func text(bytes []byte) any {
	if bytes == nil {
		return nil
	}
	return string(bytes)
}

// Code is Kafka's name of an error, or its text if it has none.
func Code(err error) string {
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return err.Error()
}

// Final tells an error that would be the same after any number of tries.
func Final(err error) bool {
	var known *kerr.Error
	return errors.As(err, &known) && !known.Retriable
}

// Value is the template with the record's number, `pad` added up to the wanted size; nil for `null`.
func Value(n int) []byte {
	template := Env("VALUE", `{"n":%d}`)
	if template == "null" {
		return nil
	}
	value := strings.ReplaceAll(template, "%d", strconv.Itoa(n))
	if pad := Number("SIZE", 0) - len(value) - 9; pad >= 0 {
		value = value[:len(value)-1] + `,"pad":"` + strings.Repeat("x", pad) + `"}`
	}
	return []byte(value)
}

func Key(n int) []byte {
	if !Has("KEY_PREFIX") {
		return nil
	}
	return []byte(Env("KEY_PREFIX", "") + strconv.Itoa(n))
}

func Headers(n int) []Header {
	return []Header{{"trace", fmt.Appendf(nil, "a-%d", n)}, {"trace", fmt.Appendf(nil, "b-%d", n)}, {"empty", nil}}
}

// TLS is nil where the connection is plain.
func TLS() *tls.Config {
	if !strings.HasSuffix(Env("SECURITY", "plaintext"), "tls") {
		return nil
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if Has("CA") {
		config.RootCAs.AppendCertsFromPEM([]byte(file("CA")))
	}
	if Has("CERTIFICATE") {
		pair, err := tls.LoadX509KeyPair(Env("CERTIFICATE", ""), Env("KEY", ""))
		if err != nil {
			panic(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// Mechanism is empty where there is no login.
func Mechanism() string {
	if !strings.HasPrefix(Env("SECURITY", "plaintext"), "sasl") {
		return ""
	}
	return Env("MECHANISM", "PLAIN")
}

func Token() string { return strings.TrimSpace(file("TOKEN_FILE")) }

func file(name string) string {
	text, err := os.ReadFile(Env(name, ""))
	if err != nil {
		panic(err)
	}
	return string(text)
}
