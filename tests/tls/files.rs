// SPDX-License-Identifier: Apache-2.0
//! Files that are not what was asked for: each error names the file, what was found in it, and what to do.

use biplane::ErrorKind;
use biplane::config::{Inputs, TlsConfig, TlsSection, load};
use biplane::io::tls::{ClientTls, ServerTls};
use tokio::io::duplex;

use crate::certs::{Certs, expired};

#[track_caller]
fn refused(config: &TlsConfig, told: &[&str]) {
    let error = ServerTls::new(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    for word in told {
        assert!(error.to_string().contains(word), "{word:?} is not in {error}");
    }
    assert!(!format!("{error:?}").contains("MC4CAQ"), "key material in {error:?}");
}

#[test]
fn each_fault_of_a_file_has_its_words() {
    let certs = Certs::new();
    let good = certs.server();
    let with_cert = |name: &str, text: &str| TlsConfig { cert: Some(certs.write(name, text)), ..good.clone() };
    let with_key = |name: &str, text: &str| TlsConfig { key: Some(certs.write(name, text)), ..good.clone() };
    let read = |name: &str| std::fs::read_to_string(certs.path(name)).unwrap();

    refused(&TlsConfig { cert: Some(certs.path("absent")), ..good.clone() }, &["absent (tls.cert) is not there"]);
    refused(&with_cert("empty", ""), &["empty (tls.cert) is empty"]);
    refused(&with_cert("text", "hello"), &["holds no PEM"]);
    refused(&with_cert("swapped", &read("server.key")), &["holds no certificate, but a private key"]);
    refused(&with_key("swapped.key", &read("server.pem")), &["(tls.key) holds no private key, but a certificate"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    refused(&with_key("encrypted", encrypted), &["encrypted private key", "openssl pkey"]);
    refused(&TlsConfig { cert: Some(certs.path("")), ..good.clone() }, &["is a directory"]);
    refused(
        &with_cert("broken", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"),
        &["broken (tls.cert)"],
    );

    certs.issue("other", &["localhost"], |_| {});
    let mixed = TlsConfig { key: Some(certs.path("other.key")), ..good.clone() };
    refused(&mixed, &["other.key does not belong to the certificate in", "server.pem"]);
    certs.issue("old", &["localhost"], expired);
    let old = TlsConfig { cert: Some(certs.path("old.pem")), key: Some(certs.path("old.key")), ..good.clone() };
    refused(&old, &["expired on 2002-01-01", "renew"]);

    let der = certs.path("der");
    std::fs::write(&der, [0x30, 0x82, 1, 2]).unwrap();
    refused(&TlsConfig { cert: Some(der), ..good.clone() }, &["is DER, not PEM", "-inform der"]);
    let large = certs.path("large");
    std::fs::write(&large, vec![b'x'; (1 << 20) + 1]).unwrap();
    refused(&TlsConfig { cert: Some(large), ..good.clone() }, &["longer than"]);
    refused(&TlsConfig { client_ca: Some(certs.write("no.ca", "x")), ..good }, &["no.ca (tls.client_ca)"]);
    refused(&TlsConfig { section: TlsSection::Tcp, ..TlsConfig::default() }, &["DYN_TCP_TLS_CERT_PATH"]);
}

/// The dialler's files are read when they are needed, and a fault is not remembered.
#[tokio::test]
async fn a_file_that_comes_later_is_read_later() {
    let certs = Certs::new();
    let server = ServerTls::new(&certs.server()).unwrap();
    let client = ClientTls::new(TlsConfig { ca: Some(certs.path("later")), ..TlsConfig::default() });
    let (near, far) = duplex(4096);
    let error = client.connect(near, "localhost", &[]).await.unwrap_err();
    assert!(error.to_string().contains("later (tls.ca) is not there"), "{error}");
    drop(far);
    certs.write("later", &std::fs::read_to_string(certs.path("ca.pem")).unwrap());
    let (near, far) = duplex(4096);
    let (near, far) = tokio::join!(client.connect(near, "localhost", &[]), server.accept(far));
    assert!(near.is_ok() && far.is_ok());
}

fn loaded(pairs: &[(&str, &str)]) -> biplane::Result<biplane::config::Config> {
    let overrides = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load(Inputs { overrides, ..Inputs::default() }, &[]).map(|loaded| loaded.config)
}

#[test]
fn one_file_turns_tls_on_for_tcp_and_the_rest_comes_from_the_common_section() {
    assert_eq!(loaded(&[("tls.ca", "/ca"), ("tls.cert", "/c"), ("tls.key", "/k")]).unwrap().tcp.tls, None);
    let common = [("tls.ca", "/ca"), ("tls.cert", "/c"), ("tls.key", "/k"), ("tls.server_name", "x")];
    let on = loaded(&[&common[..], &[("transport.tcp.tls.enabled", "yes")]].concat()).unwrap().tcp.tls.unwrap();
    assert_eq!((on.ca.as_deref(), on.cert.as_deref()), (Some("/ca".as_ref()), Some("/c".as_ref())));
    assert_eq!((on.server_name, on.section), (None, TlsSection::Tcp));
    let own = loaded(&[&common[..], &[("transport.tcp.tls.ca", "/own")]].concat()).unwrap().tcp.tls.unwrap();
    assert_eq!((own.ca.as_deref(), own.key.as_deref()), (Some("/own".as_ref()), Some("/k".as_ref())));
    let off = [("transport.tcp.tls.ca", "/own"), ("transport.tcp.tls.enabled", "no")];
    assert_eq!(loaded(&off).unwrap().tcp.tls, None);
}

#[test]
fn halves_are_refused_before_anything_is_bound() {
    for (pairs, told) in [
        (&[("tls.cert", "/c")][..], "tls.cert"),
        (&[("tls.client_key", "/k")], "certificate beside it"),
        (&[("tls.client_ca", "/ca")], "protects nothing"),
        (&[("transport.tcp.tls.cert", "/c")], "private key beside it"),
    ] {
        let error = loaded(pairs).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn nothing_configured_is_nothing_made() {
    let config = loaded(&[]).unwrap();
    assert!(ClientTls::from_config(&config).unwrap().is_none());
    assert!(ServerTls::from_config(&config).unwrap().is_none());
    let newer = loaded(&[("tls.min_version", "1.2")]).unwrap();
    assert!(ClientTls::from_config(&newer).unwrap().is_some());
}
