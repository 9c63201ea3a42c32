// SPDX-License-Identifier: Apache-2.0
use http::HeaderValue;
use http::header::{HOST, HeaderName, ORIGIN};
use proptest::prelude::*;

use super::*;

fn door() -> Door {
    Door::new("127.0.0.1:8080".parse().unwrap(), false)
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn place(admission: &Admission, door: &Door, pairs: &[(HeaderName, &str)]) -> Result<(), Denial> {
    admission.check_place(door, &Uri::from_static("/mcp"), &headers(pairs))
}

#[test]
fn only_our_own_names_and_configured_ones_are_hosts() {
    let admission = Admission::default().host("tools.example").unwrap().host("other.example:444").unwrap();
    for good in [
        "127.0.0.1:8080",
        "localhost:8080",
        "LOCALHOST:8080",
        "[::1]:8080",
        "127.0.0.2:8080",
        "localhost.:8080",
        "tools.example",
        "Tools.Example:9",
        "other.example:444",
    ] {
        assert_eq!(place(&admission, &door(), &[(HOST, good)]), Ok(()), "{good}");
    }
    for bad in [
        "evil.example",
        "evil.example:8080",
        "localhost",
        "localhost:80",
        "127.0.0.1",
        "localhost:8080.evil.example",
        "127.0.0.1.evil.example:8080",
        "other.example",
        "other.example:8080",
        "sub.tools.example",
        "",
        ":8080",
        "localhost:8080@evil.example",
        "evil.example:8080#localhost:8080",
        "192.0.2.1:8080",
        "localhost:x",
        "local%68ost:8080",
        "[::1",
        "tools.example:99999999999",
    ] {
        assert_eq!(place(&admission, &door(), &[(HOST, bad)]), Err(Denial::Host), "{bad}");
    }
    assert_eq!(place(&admission, &door(), &[]), Err(Denial::Host));
    let twice = [(HOST, "localhost:8080"), (HOST, "localhost:8080")];
    assert_eq!(place(&admission, &door(), &twice), Err(Denial::Host));
}

#[test]
fn the_address_of_http2_counts_too() {
    let admission = Admission::default();
    let admit = |uri: &'static str, pairs: &[(HeaderName, &str)]| {
        admission.check_place(&door(), &Uri::from_static(uri), &headers(pairs))
    };
    assert_eq!(admit("http://localhost:8080/mcp", &[]), Ok(()));
    assert_eq!(admit("http://evil.example/mcp", &[]), Err(Denial::Host));
    assert_eq!(admit("http://evil.example/mcp", &[(HOST, "localhost:8080")]), Err(Denial::Host));
    assert_eq!(admit("http://localhost:8080/mcp", &[(HOST, "evil.example")]), Err(Denial::Host));
}

#[test]
fn who_listens_everywhere_takes_addresses_and_no_names() {
    let everywhere = Door::new("0.0.0.0:80".parse().unwrap(), false);
    let admission = Admission::default();
    for (host, admitted) in
        [("192.0.2.1", true), ("192.0.2.1:80", true), ("192.0.2.1:81", false), ("evil.example", false)]
    {
        assert_eq!(place(&admission, &everywhere, &[(HOST, host)]).is_ok(), admitted, "{host}");
    }
    let named = Door::new("192.0.2.1:443".parse().unwrap(), true).named("Tools.Example");
    for (host, admitted) in
        [("tools.example", true), ("tools.example:443", true), ("192.0.2.1", true), ("192.0.2.2", false)]
    {
        assert_eq!(place(&admission, &named, &[(HOST, host)]).is_ok(), admitted, "{host}");
    }
}

#[test]
fn an_origin_is_ours_or_listed_or_absent() {
    let admission =
        Admission::default().origin("https://app.example").unwrap().origin("http://localhost:3000/").unwrap();
    let origin = |origin| place(&admission, &door(), &[(HOST, "localhost:8080"), (ORIGIN, origin)]);
    for good in [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "https://app.example",
        "https://app.example:443",
        "HTTPS://App.Example",
        "http://localhost:3000",
    ] {
        assert_eq!(origin(good), Ok(()), "{good}");
    }
    for bad in [
        "null",
        "",
        "http://evil.example",
        "https://localhost:8080",
        "http://localhost",
        "http://app.example",
        "https://app.example.evil.example",
        "https://evil.example/https://app.example",
        "https://app.example@evil.example",
        "file://",
        "http://192.0.2.1:8080",
        "*",
        "http://localhost:8080 http://evil.example",
    ] {
        assert_eq!(origin(bad), Err(Denial::Origin), "{bad}");
    }
    let twice = [(HOST, "localhost:8080"), (ORIGIN, "https://app.example"), (ORIGIN, "https://app.example")];
    assert_eq!(place(&admission, &door(), &twice), Err(Denial::Origin));
    assert!(Admission::default().origin("null").is_err() && Admission::default().origin("https://a/path").is_err());
}

#[test]
fn forwarded_headers_change_nothing() {
    let forwarded = |name: &'static str| (HeaderName::from_static(name), "localhost:8080");
    for name in ["x-forwarded-host", "forwarded", "x-original-host"] {
        let given = [(HOST, "evil.example"), forwarded(name)];
        assert_eq!(place(&Admission::default(), &door(), &given), Err(Denial::Host), "{name}");
    }
}

#[test]
fn tokens_name_their_bearers() {
    let admission = Admission::default().token("alice", Token::of("a-secret")).token("bob", Token::of("b-secret"));
    let who = |uri: &'static str, value: Option<&str>| {
        let pairs: Vec<_> = value.map(|value| (AUTHORIZATION, value)).into_iter().collect();
        admission.identify(&Uri::from_static(uri), &headers(&pairs)).map(|who| who.map(|who| who.to_string()))
    };
    assert_eq!(who("/mcp", Some("Bearer a-secret")), Ok(Some("alice".into())));
    assert_eq!(who("/mcp", Some("bearer  b-secret ")), Ok(Some("bob".into())));
    assert_eq!(who("/mcp", Some("Bearer c-secret")), Err(Denial::WrongToken));
    for missing in [None, Some("Basic a-secret"), Some("Bearer "), Some("Bearer"), Some("a-secret")] {
        assert_eq!(who("/mcp", missing), Err(Denial::NoToken), "{missing:?}");
    }
    assert_eq!(who("/mcp?x=1&access_token=a-secret", Some("Bearer a-secret")), Err(Denial::TokenInQuery));
    assert_eq!(who("/mcp?access%5Ftoken=a", Some("Bearer a-secret")), Err(Denial::TokenInQuery));
    assert_eq!(Admission::default().identify(&Uri::from_static("/mcp"), &HeaderMap::new()), Ok(None));
}

#[test]
fn denials_have_the_statuses_of_the_specification() {
    for (denial, status, challenge) in [
        (Denial::Origin, 403, None),
        (Denial::Host, 403, None),
        (Denial::NoToken, 401, Some("Bearer")),
        (Denial::WrongToken, 401, Some("Bearer error=\"invalid_token\"")),
        (Denial::TokenInQuery, 400, Some("Bearer error=\"invalid_request\"")),
    ] {
        let given = denial.challenge();
        assert_eq!(denial.status(), status);
        assert_eq!(given.as_ref().map(|value| value.to_str().unwrap()), challenge);
    }
}

#[test]
fn a_token_is_configured_by_its_hash_and_never_shown() {
    let hash = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let admission = Admission::default().token("t", hash.parse().unwrap());
    let given = headers(&[(AUTHORIZATION, "Bearer test")]);
    assert_eq!(admission.identify(&Uri::from_static("/"), &given).unwrap().unwrap().as_str(), "t");
    assert_eq!(Token::of("test").to_string(), hash);
    for bad in ["", "test", "sha256:9f86", &hash.replace('9', "g")] {
        let error = bad.parse::<Token>().unwrap_err();
        assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
    }
    assert!(!format!("{admission:?}").contains("9f86"));
}

#[test]
fn a_gate_is_swapped_under_its_listeners() {
    let gate = Gate::default();
    assert!(!gate.admission().wants_token());
    gate.replace(Admission::default().token("t", Token::of("x")));
    assert!(gate.admission().wants_token());
}

proptest! {
    /// Whatever stands in the headers: no panic, and nobody comes in but under our own names.
    #[test]
    fn no_text_passes_for_one_of_our_names(text in "[ -~]{0,40}") {
        if place(&Admission::default(), &door(), &[(HOST, &text)]).is_ok() {
            let host = url::Host::parse(text.strip_suffix(":8080").unwrap()).unwrap();
            let ours = match host {
                url::Host::Domain(name) => name.trim_end_matches('.') == "localhost",
                url::Host::Ipv4(address) => address.is_loopback(),
                url::Host::Ipv6(address) => address.is_loopback(),
            };
            prop_assert!(ours, "{}", text);
        }
        let _ = place(&Admission::default(), &door(), &[(HOST, "localhost:8080"), (ORIGIN, &text)]);
        let _ = text.parse::<Token>();
    }
}
