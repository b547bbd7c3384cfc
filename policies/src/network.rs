//! Networks that a principal may come from.

use std::net::IpAddr;

/// Addresses that begin alike: `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    bits: u128,
    prefix: u32,
    v4: bool,
}

impl Network {
    /// An address is a network of its own. Bits behind the prefix would be a mistake.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let (bits, v4) = bits(address.parse().ok()?);
        let width = width(v4);
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None => width,
        };
        let network = Self { bits, prefix, v4 };
        (prefix <= width && bits & !network.mask() == 0).then_some(network)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (bits, v4) = bits(address.to_canonical());
        v4 == self.v4 && bits & self.mask() == self.bits
    }

    fn mask(&self) -> u128 {
        let width = width(self.v4);
        let all = u128::MAX >> (128 - width);
        all & !all.checked_shr(self.prefix).unwrap_or(0)
    }
}

fn width(v4: bool) -> u32 {
    if v4 { 32 } else { 128 }
}

fn bits(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), true),
        IpAddr::V6(address) => (address.into(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.2.0/31", "10.1.2.1", "10.1.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::1/128", "::1", "::2"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "host",
            "2001:db8::1/64",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
