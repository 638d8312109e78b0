//! Networks of addresses: who is believed what it says of others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A network: all addresses that begin as this one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Why a text names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// It is none.
    #[error("wanted a network such as \"10.0.0.0/8\" or an address, got `{0}`")]
    Form(String),
    /// It names a host within a network: which of both is meant is not clear.
    #[error("`{given}` has more than its network: write {network}, or one address without `/`")]
    MoreThanNetwork {
        /// What was given.
        given: String,
        /// Its network.
        network: Network,
    },
}

impl Network {
    /// Whether an address is in it. One of IPv4 that is written as IPv6 is one of IPv4.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        truncated(address.to_canonical(), self.bits) == Some(self.base)
    }
}

/// The beginning of an address; nothing, where it is not that long.
fn truncated(address: IpAddr, bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits.into())?);
            Some(Ipv4Addr::from(u32::from(v4) & mask.unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits.into())?);
            Some(Ipv6Addr::from(u128::from(v6) & mask.unwrap_or(0)).into())
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Network, BadNetwork> {
        let form = || BadNetwork::Form(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                (address, Some(bits.parse().map_err(|_| form())?))
            }
            Some(_) => return Err(form()),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let address = address.to_canonical();
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(whole);
        let base = truncated(address, bits).ok_or_else(form)?;
        let network = Network { base, bits };
        match base == address {
            true => Ok(network),
            false => Err(BadNetwork::MoreThanNetwork {
                given: text.to_owned(),
                network,
            }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.base.is_ipv4() { 32 } else { 128 };
        match self.bits {
            bits if bits == whole => self.base.fmt(f),
            bits => write!(f, "{}/{bits}", self.base),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
        ] {
            let read: Network = network.parse().expect(network);
            assert_eq!(read.to_string(), network);
            assert!(
                read.has(inside.parse().expect("an address")),
                "{network} {inside}"
            );
            assert!(
                !read.has(outside.parse().expect("an address")),
                "{network} {outside}"
            );
        }
    }

    #[test]
    fn what_is_no_network_or_two_at_once_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "a/8",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "10.0.0.0/256",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let told = "10.1.2.3/8"
            .parse::<Network>()
            .expect_err("two")
            .to_string();
        assert!(told.contains("write 10.0.0.0/8"), "{told}");
    }
}
