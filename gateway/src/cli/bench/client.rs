//! How the broker is reached, in the words of Java's clients.

use std::{collections::BTreeMap, path::Path, time::Duration};

use krafka::{
    Kafka,
    auth::{AuthConfig, TlsConfig},
};

use crate::{
    cli::eprint,
    files::{self, SMALL_FILE_BYTES_MAX},
};

/// Below the time that a delivery may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const HELP: &str = "help: PEM files only: ssl.truststore.type=PEM and ssl.keystore.type=PEM";

/// Where to connect, and as whom.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) bootstrap: String,
    security: AuthConfig,
}

impl Access {
    pub(super) fn of(config: Option<&Path>, bootstrap: Option<&str>) -> Result<Self, String> {
        let mut settings = match config {
            Some(file) => {
                let text = files::read_text(file, SMALL_FILE_BYTES_MAX);
                properties(&text.map_err(|why| format!("`{}`: {why}", file.display()))?)
            }
            None => BTreeMap::new(),
        };
        let of_file = settings.remove("bootstrap.servers");
        let bootstrap = bootstrap.map(str::to_owned).or(of_file).ok_or(
            "nowhere to connect to\n  help: --bootstrap, or bootstrap.servers in --config FILE",
        )?;
        let security = security(&mut settings)?;
        for name in settings.keys() {
            eprint(format!("`{name}` is not used here"));
        }
        Ok(Self { bootstrap, security })
    }

    pub(super) async fn connect(&self) -> Result<Kafka, String> {
        let kafka = Kafka::builder(&self.bootstrap).client_id("sluicegate-bench");
        let kafka = kafka.request_timeout(REQUEST_TIMEOUT).security(self.security.clone());
        let kafka = kafka.connect().await;
        kafka.map_err(|error| format!("couldn't connect to `{}`: {error}", self.bootstrap))
    }
}

type Settings = BTreeMap<String, String>;

fn security(settings: &mut Settings) -> Result<AuthConfig, String> {
    let protocol = settings.remove("security.protocol").unwrap_or_else(|| "PLAINTEXT".to_owned());
    let (sasl, encrypted) = match protocol.as_str() {
        "PLAINTEXT" => (false, false),
        "SSL" => (false, true),
        "SASL_PLAINTEXT" => (true, false),
        "SASL_SSL" => (true, true),
        other => return Err(format!("security.protocol `{other}` is none of Kafka's")),
    };
    let tls = if encrypted { Some(tls(settings)?) } else { None };
    match (sasl, tls) {
        (false, None) => Ok(AuthConfig::plaintext()),
        (false, Some(tls)) => Ok(AuthConfig::ssl(tls)),
        (true, None) => login(settings),
        (true, Some(tls)) => Ok(login(settings)?.with_tls(tls)),
    }
}

fn tls(settings: &mut Settings) -> Result<TlsConfig, String> {
    for store in ["ssl.truststore", "ssl.keystore"] {
        let kind = settings.remove(&format!("{store}.type"));
        if kind.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("PEM")) {
            return Err(format!("{store}.type is not PEM\n  {HELP}"));
        }
    }
    let mut pem = |name: &str, inline: &str| match settings.remove(name) {
        Some(file) => {
            let read = files::read(Path::new(&file), SMALL_FILE_BYTES_MAX);
            read.map(Some).map_err(|why| format!("{name} `{file}`: {why}"))
        }
        None => Ok(settings.remove(inline).map(String::into_bytes)),
    };
    let mut config = TlsConfig::new();
    if let Some(trusted) = pem("ssl.truststore.location", "ssl.truststore.certificates")? {
        config = config.with_ca_cert_pem(trusted);
    }
    // One file has both.
    if let Some(own) = pem("ssl.keystore.location", "ssl.keystore.certificate.chain")? {
        let key = settings.remove("ssl.keystore.key").map_or_else(|| own.clone(), String::into);
        config = config.with_client_cert_pem(own, key);
    }
    Ok(config)
}

fn login(settings: &mut Settings) -> Result<AuthConfig, String> {
    let mechanism = settings.remove("sasl.mechanism").ok_or("sasl.mechanism is missing")?;
    let jaas = settings.remove("sasl.jaas.config").ok_or("sasl.jaas.config is missing")?;
    let option = |name: &str| {
        let (_, rest) = jaas.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let (Some(user), Some(password)) = (option("username"), option("password")) else {
        return Err("sasl.jaas.config needs username=\"…\" and password=\"…\"".to_owned());
    };
    match mechanism.as_str() {
        "PLAIN" => Ok(AuthConfig::sasl_plain(user, password)),
        "SCRAM-SHA-256" => Ok(AuthConfig::sasl_scram_sha256(user, password)),
        "SCRAM-SHA-512" => Ok(AuthConfig::sasl_scram_sha512(user, password)),
        other => Err(format!(
            "sasl.mechanism `{other}` is not known here\n  help: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
        )),
    }
}

/// The lines of a properties file; a line that ends in a backslash goes on in the next.
fn properties(text: &str) -> Settings {
    let text = text.replace("\\\r\n", "").replace("\\\n", "");
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
    let pairs = lines.filter_map(|line| line.split_once(['=', ':']));
    let unescaped = |value: &str| value.trim().replace("\\n", "\n").replace("\\\\", "\\");
    pairs.map(|(name, value)| (name.trim().to_owned(), unescaped(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_clients_settings_are_understood() {
        let mut settings = properties(
            "# a comment\nsecurity.protocol = SASL_PLAINTEXT\nsasl.mechanism:SCRAM-SHA-512\n\
             sasl.jaas.config=org.apache.kafka.Scram required \\\n  username=\"ann\" password=\"a=b:c\";\nacks=1\n",
        );
        let security = security(&mut settings).unwrap();
        let found = security.scram_credentials().unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("ann", "a=b:c"));
        assert_eq!(settings.into_keys().collect::<Vec<_>>(), ["acks"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |text: &str, part: &str| {
            let Err(why) = security(&mut properties(text)) else { panic!("{text} is taken") };
            assert!(why.contains(part), "{why}");
        };
        check("security.protocol=TLS", "none of Kafka's");
        check("security.protocol=SSL\nssl.truststore.type=JKS", "not PEM");
        check("security.protocol=SSL\nssl.truststore.location=/nowhere.pem", "/nowhere.pem");
        check("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN", "jaas.config is missing");
    }
}
