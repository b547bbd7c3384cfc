# The shared servers of one run, under a directory that goes away with it: PostgreSQL, and one Apache Kafka
# a region. Tests that stop or kill a server start a private one (src/postgres.rs, src/kafka.rs) by the same
# two scripts, components/{kafka,postgres}/node. Sourced by tests/all.

start_postgres() {
  local port dir=$run/postgres password
  password=$(openssl rand -hex 16)
  port=$(free_ports 1)
  mkdir -p "$dir" && echo "$password" >"$dir/password"
  "$here/components/postgres/node" "$dir" "$port" >"$run/postgres.log" 2>&1 &
  started+=($!)
  await 60 $! "$run/postgres.log" env PGPASSWORD="$password" psql -h 127.0.0.1 -p "$port" -U postgres -c 'select 1'
  export SLUICEGATE_TEST_POSTGRES=postgres://postgres:$password@127.0.0.1:$port/postgres
  say "   PostgreSQL on port $port"
}

# A throwaway CA and one server certificate for the SSL listeners of both clusters.
make_kafka_certificates() {
  local dir=$run/kafka-tls
  mkdir -p "$dir"
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=test brokers' \
      -keyout "$dir/ca.key" -out "$dir/ca.pem"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' \
      -keyout "$dir/broker.key" -out "$dir/broker.csr"
    openssl x509 -req -days 2 -in "$dir/broker.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
      -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') -out "$dir/broker.pem"
  } 2>"$run/openssl.log" || { cat "$run/openssl.log" >&2; die "could not make certificates"; }
  cat "$dir/broker.key" "$dir/broker.pem" "$dir/ca.pem" >"$dir/server.pem"
  export SLUICEGATE_TEST_KAFKA_CA=$dir/ca.pem
}

# start_kafka REGION: begins; await_kafka waits, so that both come up at once.
start_kafka() {
  local region=$1 dir=$run/kafka-$1 plain ssl controller
  read -r plain ssl controller < <(free_ports 3)
  mkdir -p "$dir" && cp "$run/kafka-tls/server.pem" "$dir/"
  "$here/components/kafka/node" "$dir" "$plain" "$ssl" "$controller" \
    "$(kafka_jars "${SLUICEGATE_TEST_KAFKA_VERSION:-$kafka_version}")" >"$dir.log" 2>&1 &
  started+=($!)
  kafka_pid[$region]=$!
  export "SLUICEGATE_TEST_KAFKA_${region^^}=127.0.0.1:$plain"
  export "SLUICEGATE_TEST_KAFKA_${region^^}_SSL=127.0.0.1:$ssl"
  export "SLUICEGATE_TEST_KAFKA_${region^^}_LOG=$dir/log"
  say "   Apache Kafka, region $region: port $plain, with TLS $ssl"
}

declare -A kafka_pid=()
await_kafka() {
  await 120 "${kafka_pid[$1]}" "$run/kafka-$1.log" grep -q 'Kafka Server started' "$run/kafka-$1.log"
}
