//! What must hold between the parts of a configuration: semantic checks, all of them, each with
//! the line of the key that it is about.

use std::path::Path;

use sluicegate_policies::nearest;

use super::{ClientAuth, Config, Listener, Mode, Region, ServerTls, TokenIssuer, parse::Mistake};

/// Adds a mistake for each rule that does not hold.
pub(super) fn semantics(config: &Config, file: &Path, text: &str, mistakes: &mut Vec<Mistake>) {
    let mut checker = Checker { file, text, mistakes };
    checker.names(config);
    checker.ledger(config);
    checker.once(config);
    checker.listener("listen", &config.listen);
    checker.listener("admin", &config.admin);
    checker.regions(config);
    checker.kafka(config);
    checker.identify(config);
    checker.production(config);
    checker.limits(config);
}

struct Checker<'a> {
    file: &'a Path,
    text: &'a str,
    mistakes: &'a mut Vec<Mistake>,
}

impl Checker<'_> {
    /// Adds a mistake at the first line of `section` that holds `key:`.
    fn at(&mut self, section: &str, key: &str, message: String, help: &str) {
        let (line, column) = locate(self.text, section, key);
        self.mistakes.push(Mistake {
            file: self.file.to_owned(),
            line,
            column,
            message,
            help: (!help.is_empty()).then(|| help.to_owned()),
        });
    }

    fn names(&mut self, config: &Config) {
        let good = |name: &str| {
            !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        for (key, name) in [("node", &config.node), ("tenant", &config.tenant)] {
            if !good(name) {
                let help = "use 1 to 64 letters, digits, dots, dashes or underscores";
                self.at(key, key, format!("`{key}` is not a usable name"), help);
            }
        }
    }

    fn ledger(&mut self, config: &Config) {
        match (&config.ledger.store, &config.ledger.store_file) {
            (Some(_), Some(_)) | (None, None) => self.at(
                "ledger",
                "store",
                "give exactly one of `store` and `store-file`".to_owned(),
                "`store: sqlite:ledger.db` needs nothing else",
            ),
            (Some(url), None) if !url.starts_with("sqlite:") => self.at(
                "ledger",
                "store",
                "`store` takes `sqlite:FILE` only".to_owned(),
                "put a PostgreSQL URL into a file and name it in `store-file`: it holds a password",
            ),
            _ => {}
        }
        if !(20..=86_400).contains(&config.ledger.takeover_s) {
            let help = "a node that runs says so every 10 s; 120 is usual";
            let message = "`takeover-s` is not from 20 to 86400".to_owned();
            self.at("ledger", "takeover-s", message, help);
        }
        if config.ledger.origin.is_empty() || config.ledger.origin.contains(char::is_whitespace) {
            let help = "use a name you own, such as `acme.example/sluicegate`";
            self.at("ledger", "origin", "`origin` is empty or has spaces".to_owned(), help);
        }
    }

    /// Two parts that want one address or one file can never both have it.
    fn once(&mut self, config: &Config) {
        let [data, admin] = [config.listen.address, config.admin.address];
        let same_host = data.ip() == admin.ip()
            || (data.is_ipv4() == admin.is_ipv4()
                && (data.ip().is_unspecified() || admin.ip().is_unspecified()));
        if data.port() == admin.port() && data.port() != 0 && same_host {
            let help = "give each listener a port of its own";
            let message = "`listen` and `admin` share an address".to_owned();
            self.at("admin", "address", message, help);
        }
        let ledger = config.ledger.store.iter().filter_map(|store| store.strip_prefix("sqlite:"));
        let mut files: Vec<&Path> = ledger.map(Path::new).collect();
        let regions = config.regions.values().filter_map(|region| region.embedded.as_ref());
        files.extend(regions.map(|embedded| embedded.file.as_path()));
        files.sort_unstable();
        if let Some([file, _]) = files.array_windows().find(|[one, other]| one == other) {
            let message = format!("two components use the same file, `{}`", file.display());
            self.at(
                "regions",
                "regions",
                message,
                "the ledger and each region need a file of their own",
            );
        }
    }

    fn listener(&mut self, section: &str, listener: &Listener) {
        self.tls(section, &listener.tls);
    }

    fn tls(&mut self, section: &str, tls: &ServerTls) {
        if tls.client_auth != ClientAuth::None && tls.client_ca.is_none() {
            let help = "set `client-ca` to the authorities of your clients' certificates";
            self.at(section, "client-auth", "`client-auth` needs `client-ca`".to_owned(), help);
        }
        if tls.client_auth == ClientAuth::None && tls.client_ca.is_some() {
            let help = "set `client-auth: optional` or `required`, or remove `client-ca`";
            self.at(section, "client-ca", "`client-ca` has no effect".to_owned(), help);
        }
    }

    fn regions(&mut self, config: &Config) {
        if config.regions.is_empty() {
            self.at("regions", "regions", "no region is configured".to_owned(), "");
        }
        for (name, region) in &config.regions {
            self.region(name, region);
        }
    }

    fn kafka(&mut self, config: &Config) {
        let mut taken = vec![config.listen.address, config.admin.address];
        for (name, face) in &config.kafka {
            if !config.regions.contains_key(name) {
                let message = format!("`{name}` is no region");
                let help = "Kafka clients reach one region's pipeline: name one of `regions`";
                self.at("kafka", name, message, help);
            }
            if face.begins_at().is_none_or(|(host, _)| host.is_empty()) {
                let message = format!("region `{name}`: `advertised` is not `host:port`");
                let help = "write what clients have as `bootstrap.servers`";
                self.at("kafka", "advertised", message, help);
            }
            let brokers = match (&face.brokers.names, &face.brokers.ports) {
                (Some(names), None) if names.matches("{node}").count() == 1 => None,
                (Some(_), None) => Some("`names` needs `{node}` once, for the broker's number"),
                (None, Some(ports)) if ports.count == 0 => Some("`count` is at least 1"),
                (None, Some(ports)) => {
                    let last = |first: u16| first.checked_add(ports.count - 1);
                    let fits = last(ports.first).and(last(ports.advertised.unwrap_or(1)));
                    fits.is_none().then_some("there are no ports above 65535")
                }
                _ => Some("give exactly one of `names` and `ports`"),
            };
            if let Some(why) = brokers {
                let help = "`brokers: { ports: { first: 9093 } }` gives each broker a port";
                self.at("kafka", "brokers", format!("region `{name}`: {why}"), help);
            }
            let own = [face.address].into_iter().chain(face.ports().map(|(_, address)| address));
            let own: Vec<_> = own.collect();
            if let Some(twice) = own.iter().find(|address| {
                let same = |other: &&std::net::SocketAddr| other == address && other.port() != 0;
                taken.iter().filter(same).count() + own.iter().filter(same).count() > 1
            }) {
                let message = format!("region `{name}`: two listeners share `{twice}`");
                self.at("kafka", "address", message, "give each a port of its own");
            }
            taken.extend(own);
            self.tls("kafka", &face.tls);
        }
    }

    fn region(&mut self, name: &str, region: &Region) {
        match (&region.embedded, &region.kafka) {
            (Some(embedded), None) if !(1..=256).contains(&embedded.partitions) => {
                let message = format!("region `{name}`: `partitions` must be 1 to 256");
                self.at("regions", "partitions", message, "");
            }
            (Some(_), None) => {}
            (None, Some(kafka)) => {
                if kafka.bootstrap.is_empty() {
                    let message = format!("region `{name}`: `bootstrap` is empty");
                    self.at("regions", name, message, "list some brokers as `host:port`");
                }
                if kafka.delivery_timeout_s < 15 {
                    let message = format!("region `{name}`: `delivery-timeout-s` is below 15");
                    let help = "restarting a broker takes longer; 60 to 120 is usual";
                    self.at("regions", "delivery-timeout-s", message, help);
                }
                if let Some(tls) = &kafka.tls
                    && tls.certificate.is_some() != tls.key.is_some()
                {
                    let message = format!("region `{name}`: `certificate` and `key` go together");
                    self.at("regions", name, message, "");
                }
            }
            _ => {
                let message =
                    format!("region `{name}`: give exactly one of `embedded` and `kafka`");
                self.at("regions", name, message, "");
            }
        }
    }

    fn identify(&mut self, config: &Config) {
        let identify = &config.identify;
        if identify.certificates.is_empty()
            && identify.tokens.is_empty()
            && identify.passwords.is_none()
            && identify.anonymous.is_none()
        {
            let help =
                "add a rule under `identify.certificates` or an issuer under `identify.tokens`";
            self.at("identify", "identify", "nobody can log in".to_owned(), help);
        }
        for rule in &identify.certificates {
            let names = [&rule.uri, &rule.dns, &rule.email, &rule.common_name];
            if names.iter().filter(|n| n.is_some()).count() != 1 {
                let message = format!(
                    "the rule for `{}` needs exactly one of `uri`, `dns`, `email`, `common-name`",
                    rule.principal
                );
                self.at("identify", "certificates", message, "");
            }
        }
        for issuer in &identify.tokens {
            self.issuer(issuer);
        }
        let mut issuers: Vec<_> =
            identify.tokens.iter().map(|t| (&t.issuer, &t.audience)).collect();
        issuers.sort_unstable();
        if let Some([(issuer, _), _]) = issuers.array_windows().find(|[one, other]| one == other) {
            let message = format!("issuer `{issuer}` is listed twice with the same audience");
            self.at("identify", "tokens", message, "");
        }
    }

    fn issuer(&mut self, issuer: &TokenIssuer) {
        let name = &issuer.issuer;
        let sources = [issuer.jwks_file.is_some(), issuer.jwks_url.is_some(), issuer.discovery];
        if sources.into_iter().filter(|given| *given).count() != 1 {
            let message = format!(
                "issuer `{name}` needs exactly one of `jwks-file`, `jwks-url` and `discovery: true`"
            );
            self.at("identify", "tokens", message, "");
        }
        let clear = |url: &String| !url.starts_with("https://");
        if issuer.jwks_url.as_ref().is_some_and(clear) {
            let message = format!("issuer `{name}`: `jwks-url` is not https");
            self.at(
                "identify",
                "jwks-url",
                message,
                "keys fetched without TLS can be replaced on the way",
            );
        }
        if issuer.discovery && clear(name) {
            let message = format!("issuer `{name}`: `discovery` needs an https issuer");
            self.at(
                "identify",
                "discovery",
                message,
                "keys fetched without TLS can be replaced on the way",
            );
        }
        if issuer.ca.is_some() && issuer.jwks_file.is_some() {
            let message = format!("issuer `{name}`: `ca` has no effect on a `jwks-file`");
            self.at("identify", "ca", message, "");
        }
        if issuer.algorithms.is_empty() {
            let message = format!("issuer `{name}`: `algorithms` is empty");
            self.at("identify", "algorithms", message, "such as `[EdDSA]`, `[ES256]` or `[RS256]`");
        }
        if issuer.clock_skew_s > 300 {
            let message = format!("issuer `{name}`: `clock-skew-s` is above 300");
            self.at("identify", "clock-skew-s", message, "");
        }
        if issuer.jwks_max_age_s < 600 {
            let message = format!("issuer `{name}`: `jwks-max-age-s` is below 600");
            let help = "a key set is read every 300 seconds";
            self.at("identify", "jwks-max-age-s", message, help);
        }
    }

    fn production(&mut self, config: &Config) {
        if config.mode != Mode::Production {
            return;
        }
        let help = "use `mode: development`, or the production engine";
        self.at("keys", "file", "`mode: production` refuses a file keyring".to_owned(), help);
        if config.identify.anonymous.is_some() {
            let message = "`mode: production` refuses an anonymous principal".to_owned();
            self.at("identify", "anonymous", message, "");
        }
        for (name, region) in &config.regions {
            if region.embedded.is_some() {
                let message = format!("`mode: production` refuses region `{name}`: embedded");
                self.at("regions", name, message, help);
            }
            if region.kafka.as_ref().is_some_and(|k| k.tls.is_none()) {
                let message = format!("`mode: production` refuses region `{name}`: no TLS");
                self.at("regions", name, message, "add `tls: { ca: … }`");
            }
        }
    }

    fn limits(&mut self, config: &Config) {
        let limits = &config.limits;
        for (key, value, least) in [
            ("body-bytes", limits.body_bytes, 1_024),
            ("record-bytes", limits.record_bytes, 1_024),
            ("in-flight-bytes", limits.in_flight_bytes, limits.body_bytes),
            ("request-records", limits.request_records, 1),
            ("read-bytes", limits.read_bytes, 1_024),
            ("connections", limits.connections, 1),
            ("admin-connections", limits.admin_connections, 2),
            ("connections-per-address", limits.connections_per_address, 1),
        ] {
            if value < least {
                let message = format!("`{key}` is below {least}");
                self.at("limits", key, message, "");
            }
        }
        if limits.stream_wait_ms > 1_000 {
            let help = "it is added to the time that a record takes; 5 is usual";
            self.at("limits", "stream-wait-ms", "`stream-wait-ms` is above 1000".to_owned(), help);
        }
        for role in config.roles.auditor.iter().chain(&config.roles.operator) {
            let known: Vec<&str> = config
                .identify
                .certificates
                .iter()
                .map(|rule| rule.principal.as_str())
                .chain(config.identify.anonymous.as_deref())
                .chain(
                    config
                        .identify
                        .tokens
                        .iter()
                        .flat_map(|t| t.principals.values())
                        .map(String::as_str),
                )
                .collect();
            let open = config.identify.tokens.iter().any(|t| t.principals.is_empty());
            if !open && !known.contains(&role.as_str()) {
                let help = nearest(role, known.iter().copied())
                    .map(|n| format!("did you mean `{n}`?"))
                    .unwrap_or_default();
                let message = format!("role holder `{role}` cannot log in");
                self.at("roles", "roles", message, &help);
            }
        }
    }
}

/// Line and column of the first `key:` in a top-level section; the section's own line else.
fn locate(text: &str, section: &str, key: &str) -> (u64, u64) {
    let mut inside = false;
    let mut fallback = (0, 0);
    for (line, number) in text.lines().zip(1_u64..) {
        let top = !line.starts_with([' ', '\t', '#', '-']) && line.contains(':');
        if top {
            inside = line.split(':').next().is_some_and(|name| name.trim() == section);
            if inside {
                fallback = (number, 1);
            }
        }
        let position = inside.then(|| line.find(&format!("{key}:"))).flatten();
        if let Some(position) = position {
            return (number, position as u64 + 1);
        }
    }
    fallback
}

impl Config {
    /// Makes relative paths relative to the configuration file's folder.
    pub(super) fn relative_to(mut self, file: &Path) -> Self {
        let base = file.parent().unwrap_or(Path::new(""));
        let fix = |path: &mut std::path::PathBuf| *path = base.join(&*path);
        fix(&mut self.policies);
        fix(&mut self.keys.file);
        fix(&mut self.releases.directory);
        fix(&mut self.releases.witness);
        self.ledger.store_file.iter_mut().for_each(fix);
        if let Some(store) = &mut self.ledger.store
            && let Some(file) = store.strip_prefix("sqlite:")
        {
            *store = format!("sqlite:{}", base.join(file).display());
        }
        let kafka = self.kafka.values_mut().map(|face| &mut face.tls);
        for tls in [&mut self.listen.tls, &mut self.admin.tls].into_iter().chain(kafka) {
            fix(&mut tls.certificate);
            fix(&mut tls.key);
            tls.client_ca.iter_mut().for_each(fix);
        }
        for region in self.regions.values_mut() {
            region.embedded.iter_mut().for_each(|e| fix(&mut e.file));
            let Some(kafka) = &mut region.kafka else { continue };
            kafka.sasl.iter_mut().for_each(|s| fix(&mut s.password_file));
            for tls in kafka.tls.iter_mut() {
                fix(&mut tls.ca);
                tls.certificate.iter_mut().for_each(fix);
                tls.key.iter_mut().for_each(fix);
            }
        }
        for issuer in &mut self.identify.tokens {
            issuer.jwks_file.iter_mut().for_each(fix);
            issuer.ca.iter_mut().for_each(fix);
        }
        self.identify.passwords.iter_mut().for_each(|passwords| fix(&mut passwords.file));
        self
    }
}
