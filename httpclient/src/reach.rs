//! Addresses that only the machine itself is meant to ask: link-local ones, and those where clouds give out a machine's own
//! credentials. A server that is asked must not be able to send us there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside the link-local networks: Alibaba's, Azure's, Oracle's.
const OTHER_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Those of AWS (`fd00:ec2::`) and Google (`fd20:ce::254`), by the beginning of the address.
const OTHER_V6: [[u16; 2]; 2] = [[0xfd00, 0x0ec2], [0xfd20, 0x00ce]];
/// Names that lead to one wherever there is one.
const NAMES: [&str; 2] = ["metadata.google.internal", "metadata.goog"];

/// Whether an address is one of them.
pub(crate) fn is_of_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || OTHER_V4.contains(&v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_of_machine(v4.into()),
            None => v6.is_unicast_link_local() || begins_like_one(v6),
        },
    }
}

fn begins_like_one(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    OTHER_V6.contains(&[first, second])
}

/// Whether a host of a URL is one of them by what is written.
pub(crate) fn is_host_of_machine(host: &str) -> bool {
    match host.parse() {
        Ok(address) => is_of_machine(address),
        Err(_) => NAMES
            .iter()
            .any(|name| host.trim_end_matches('.').eq_ignore_ascii_case(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_known_by_address_and_name() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "fe80::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "Metadata.Google.Internal.",
        ] {
            assert!(is_host_of_machine(host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "fd00::1",
            "example.org",
            "100.100.100.201",
            "",
        ] {
            assert!(!is_host_of_machine(host), "{host}");
        }
    }
}
