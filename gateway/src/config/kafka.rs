//! The Kafka listeners of a region.

use std::net::SocketAddr;

use serde::Deserialize;

use super::ServerTls;

/// Where Kafka clients find the brokers of a region. An embedded pipeline is one broker, number 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KafkaFace {
    /// Where clients begin: IP address and port.
    pub address: SocketAddr,
    /// The same as clients reach it, such as `kafka.eu.example.com:9092`.
    pub advertised: String,
    /// How brokers are told apart: exactly one of the two.
    pub brokers: Brokers,
    pub tls: ServerTls,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Brokers {
    /// By name, at the address above: a host name with `{node}` for the broker's number, such as
    /// `b{node}.kafka.eu.example.com`. The certificate must have all of them, or a wildcard.
    pub names: Option<String>,
    /// By port, at the host above.
    pub ports: Option<Ports>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ports {
    /// The port of the broker with the smallest number.
    pub first: u16,
    /// The same as clients reach it, if it is another one.
    pub advertised: Option<u16>,
    /// The smallest number that a broker has.
    #[serde(default)]
    pub first_node: i32,
    /// How many ports: brokers that appear later have one already.
    #[serde(default = "ten")]
    pub count: u16,
}

fn ten() -> u16 {
    10
}

impl KafkaFace {
    /// Host and port under which clients begin.
    pub fn begins_at(&self) -> Option<(&str, u16)> {
        let (host, port) = self.advertised.rsplit_once(':')?;
        Some((host, port.parse().ok()?))
    }

    /// Host and port of a broker, as clients reach it.
    pub fn place(&self, node: i32) -> Option<(String, u16)> {
        let (host, port) = self.begins_at()?;
        if let Some(names) = &self.brokers.names {
            return Some((names.replace("{node}", &node.to_string()), port));
        }
        let ports = self.brokers.ports?;
        let n = u16::try_from(node.checked_sub(ports.first_node)?).ok()?;
        let first = ports.advertised.unwrap_or(ports.first);
        (n < ports.count).then(|| Some((host.to_owned(), first.checked_add(n)?)))?
    }

    /// The broker that a client names in its TLS handshake.
    pub fn node_of(&self, name: Option<&str>) -> Option<i32> {
        let (before, after) = self.brokers.names.as_deref()?.split_once("{node}")?;
        name?.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    }

    /// The ports of brokers, with their numbers.
    pub fn ports(&self) -> impl Iterator<Item = (i32, SocketAddr)> {
        let address = self.address.ip();
        self.brokers.ports.into_iter().flat_map(move |ports| {
            (0..ports.count).filter_map(move |n| {
                let node = ports.first_node.checked_add(n.into())?;
                Some((node, SocketAddr::new(address, ports.first.checked_add(n)?)))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(brokers: &str) -> KafkaFace {
        let text = format!(
            "address: 127.0.0.1:9092\nadvertised: kafka.example:19092\nbrokers: {brokers}\n\
             tls: {{ certificate: a, key: b }}\n"
        );
        serde_saphyr::from_str(&text).unwrap()
    }

    #[test]
    fn a_broker_is_told_by_its_name() {
        let face = face("{ names: \"b{node}.kafka.example\" }");
        assert_eq!(face.place(12), Some(("b12.kafka.example".to_owned(), 19_092)));
        assert_eq!(face.node_of(Some("b12.kafka.example")), Some(12));
        for name in [None, Some("kafka.example"), Some("b.kafka.example"), Some("bx.kafka.example")]
        {
            assert_eq!(face.node_of(name), None, "{name:?}");
        }
        assert_eq!(face.ports().count(), 0);
    }

    #[test]
    fn a_broker_is_told_by_its_port() {
        let face = face("{ ports: { first: 9093, first-node: 1, count: 3, advertised: 29093 } }");
        assert_eq!(face.place(1), Some(("kafka.example".to_owned(), 29_093)));
        assert_eq!(face.place(3), Some(("kafka.example".to_owned(), 29_095)));
        assert_eq!((face.place(0), face.place(4)), (None, None));
        let ports: Vec<_> = face.ports().map(|(node, address)| (node, address.port())).collect();
        assert_eq!(ports, [(1, 9_093), (2, 9_094), (3, 9_095)]);
        assert_eq!(face.node_of(Some("kafka.example")), None);
    }
}
