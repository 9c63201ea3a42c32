// SPDX-License-Identifier: Apache-2.0
//! NATS subjects: how a service's name becomes one, and what counts as an address.
//!
//! A NATS subject is tokens joined by dots, where `*` and `>` are wildcards and white space ends it
//! (<https://docs.nats.io/nats-concepts/subjects>). A service's name is any text, so it becomes one token.

use biplane::{Error, Result, Retry, Subject, Target, TransportAddress, TransportId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const PREFIX: &str = "biplane.rpc.";

/// The queue group that the instances of a service form.
pub(crate) const QUEUE_GROUP: &str = "biplane";

/// What stays as it is in a token.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The longest address: a prefix, the longest name with every byte escaped, an instance. The server's limit for a whole
/// protocol line, reply subject included, is 4,096 bytes by default.
const MAX_LEN: usize = PREFIX.len() + 3 * Subject::MAX_LEN + 17;

/// The subject that all instances of a service share.
pub(crate) fn group(subject: &Subject) -> String {
    format!("{PREFIX}{}", utf8_percent_encode(subject.as_str(), TOKEN))
}

/// The subject of one instance.
pub(crate) fn direct(subject: &Subject, instance_id: u64) -> String {
    format!("{}.{instance_id:016x}", group(subject))
}

/// The address of the whole service, given the address of one of its instances as discovery publishes it: NATS then
/// chooses the instance. `None` if `direct` is no such address.
pub fn group_address(direct: &TransportAddress) -> Option<TransportAddress> {
    let (group, instance) = direct.address.rsplit_once('.')?;
    let fits = direct.transport == TransportId::NATS
        && group.strip_prefix(PREFIX).is_some_and(|name| !name.is_empty() && !name.contains('.'))
        && instance.len() == 16
        && instance.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| TransportAddress::nats(group))
}

/// The NATS subject that an address is.
pub(crate) fn of_address(address: &TransportAddress) -> Result<&str> {
    if address.transport != TransportId::NATS {
        return Err(Error::unsupported(format!("{address} is no address of the nats plane")).with_retry(Retry::Safe));
    }
    if is_concrete(&address.address) {
        return Ok(&address.address);
    }
    Err(Error::config(format!("{:?} is no NATS subject that a request can go to", address.address))
        .with_retry(Retry::Safe)
        .with_hint("an address is non-empty tokens joined by dots, without wildcards and white space"))
}

/// The whole service that a URL `nats://server/name` means: its NATS subject, and its own.
///
/// `is_ours` says whether the process uses the server at a host and port: a URL cannot choose another one.
pub(crate) fn of_url(target: &Target, is_ours: impl Fn(&str, Option<u16>) -> bool) -> Result<(String, Subject)> {
    let host = target.url().host_str().unwrap_or_default();
    if !host.is_empty() && !is_ours(host, target.url().port()) {
        return Err(Error::unsupported(format!("{target} names a server that this process does not use"))
            .with_retry(Retry::Safe)
            .with_hint("set NATS_SERVER to that server, or write nats:///name for the one that it names"));
    }
    match target.subject()? {
        Some(subject) => Ok((group(&subject), subject)),
        None => Err(Error::config(format!("{target} names no service")).with_hint("write nats://server/name")),
    }
}

/// Whether a message can be published to `subject`.
pub(crate) fn is_concrete(subject: &str) -> bool {
    let token = |token: &str| !token.is_empty() && token != "*" && token != ">";
    subject.len() <= MAX_LEN
        && subject.split('.').all(token)
        && !subject.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_token() {
        for (name, token) in [
            ("words", "words"),
            ("demo.llm.generate", "demo%2Ellm%2Egenerate"),
            ("tools/call", "tools%2Fcall"),
            ("a b*>", "a%20b%2A%3E"),
            ("ä_-", "%C3%A4_-"),
        ] {
            let subject = Subject::new(name).unwrap();
            assert_eq!(group(&subject), format!("biplane.rpc.{token}"));
            assert!(is_concrete(&direct(&subject, u64::MAX)));
        }
        let longest = Subject::new(".".repeat(Subject::MAX_LEN)).unwrap();
        assert!(is_concrete(&direct(&longest, 0)));
    }

    #[test]
    fn the_group_is_found_from_the_instance() {
        let subject = Subject::new("a.b").unwrap();
        let found = group_address(&TransportAddress::nats(direct(&subject, 7)));
        assert_eq!(found, Some(TransportAddress::nats(group(&subject))));
        for bad in ["biplane.rpc.a", "biplane.rpc.a.b.0000000000000007", "other.a.0000000000000007", "7"] {
            assert_eq!(group_address(&TransportAddress::nats(bad)), None, "{bad}");
        }
        assert_eq!(group_address(&TransportAddress::tcp("biplane.rpc.a.0000000000000007")), None);
    }

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        for bad in ["", ".", "a..b", "a.*", ">", "a b", "a\r\nPUB x 0", "a.b."] {
            assert!(of_address(&TransportAddress::nats(bad)).is_err(), "{bad:?}");
        }
        assert!(of_address(&TransportAddress::nats("x".repeat(MAX_LEN + 1))).is_err());
        assert!(of_address(&TransportAddress::tcp("a.b")).is_err());
        assert_eq!(of_address(&TransportAddress::nats("a.b")).unwrap(), "a.b");
    }

    #[test]
    fn a_url_names_a_whole_service_at_our_own_server() {
        let of = |url: &str, ours: bool| of_url(&Target::parse(url, |_| false).unwrap(), |_, _| ours);
        let (address, subject) = of("nats://h:1/tools%2Fcall", true).unwrap();
        assert_eq!((address.as_str(), subject.as_str()), ("biplane.rpc.tools%2Fcall", "tools/call"));
        assert_eq!(of("nats:///words", false).unwrap().0, "biplane.rpc.words");
        assert_eq!(of("nats://h:1/words", false).unwrap_err().kind(), biplane::ErrorKind::Unsupported);
        assert_eq!(of("nats://h:1", true).unwrap_err().kind(), biplane::ErrorKind::Config);
    }
}
