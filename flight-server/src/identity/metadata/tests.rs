use http::HeaderValue;
use tonic::Code;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64.encode(credentials))
}

fn dev() -> Ways {
    Ways { dev: true, trusted_header: None }
}

fn proxied() -> Ways {
    Ways { dev: false, trusted_header: Some(HeaderName::from_static("x-auth-user").try_into().unwrap()) }
}

fn refused(ways: &Ways, pairs: &[(&'static str, &str)]) {
    assert_eq!(ways.claim(&headers(pairs), || None).unwrap_err().code(), Code::Unauthenticated);
}

#[test]
fn basic_holds_any_name_and_a_password_with_colons() {
    let claim = Ways::default().claim(&headers(&[("authorization", &basic("Zoë ../x:p:w"))]), || None).unwrap();
    assert_eq!(claim, Claim::Password { user: "Zoë ../x".into(), password: "p:w".into() });
}

#[test]
fn basic_may_lack_its_padding() {
    let unpadded = basic("ab:c").trim_end_matches('=').to_owned();
    let claim = Ways::default().claim(&headers(&[("authorization", &unpadded)]), || None).unwrap();
    assert_eq!(claim, Claim::Password { user: "ab".into(), password: "c".into() });
}

#[test]
fn bearer_is_a_token_in_any_case() {
    let claim = Ways::default().claim(&headers(&[("authorization", "bearer abc")]), || None).unwrap();
    assert_eq!(claim, Claim::Token("abc".into()));
}

#[test]
fn dev_believes_names_and_still_checks_passwords() {
    assert_eq!(dev().claim(&headers(&[("x-insula-user", "bob")]), || None).unwrap(), Claim::Vouched("bob".into()));
    assert_eq!(
        dev().claim(&headers(&[("authorization", &basic("bob:"))]), || None).unwrap(),
        Claim::Vouched("bob".into())
    );
    let checked = dev().claim(&headers(&[("authorization", &basic("bob:pw"))]), || None).unwrap();
    assert_eq!(checked, Claim::Password { user: "bob".into(), password: "pw".into() });
}

#[test]
fn without_dev_a_name_alone_is_nothing() {
    refused(&Ways::default(), &[("x-insula-user", "bob")]);
    let empty = Ways::default().claim(&headers(&[("authorization", &basic("bob:"))]), || None).unwrap();
    assert_eq!(empty, Claim::Password { user: "bob".into(), password: String::new() });
}

#[test]
fn a_trusted_header_beats_what_the_client_sent() {
    let both = headers(&[("authorization", &basic("mallory:pw")), ("x-auth-user", "alice")]);
    assert_eq!(proxied().claim(&both, || None).unwrap(), Claim::Vouched("alice".into()));
    refused(&proxied(), &[("x-auth-user", "alice"), ("x-auth-user", "bob")]);
    refused(&proxied(), &[("x-auth-user", "alice"), ("x-auth-user-bin", &BASE64.encode("bob"))]);
}

#[test]
fn binary_metadata_carries_names_beyond_ascii() {
    let encoded = BASE64.encode("名前");
    assert_eq!(
        dev().claim(&headers(&[("x-insula-user-bin", &encoded)]), || None).unwrap(),
        Claim::Vouched("名前".into())
    );
    assert_eq!(dev().claim(&headers(&[("x-insula-user", "名前")]), || None).unwrap(), Claim::Vouched("名前".into()));
}

#[test]
fn malformed_claims_are_refused() {
    refused(&Ways::default(), &[]);
    refused(&Ways::default(), &[("authorization", "Basic !!!")]);
    refused(&Ways::default(), &[("authorization", &basic("no colon"))]);
    refused(&Ways::default(), &[("authorization", "Digest x")]);
    refused(&Ways::default(), &[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
    refused(&dev(), &[("authorization", &basic(&format!("{}:", "x".repeat(257))))]);
    refused(&dev(), &[("authorization", &basic("a\0b:"))]);
    refused(&dev(), &[("x-insula-user", "")]);
}

#[test]
fn a_certificate_is_what_is_left() {
    let ann = || Some(Ok("ann".to_owned()));
    let claim = |ways: Ways, pairs: &[(&'static str, &str)]| ways.claim(&headers(pairs), ann).unwrap();
    assert_eq!(claim(Ways::default(), &[]), Claim::Vouched("ann".into()));
    assert_eq!(claim(Ways::default(), &[("authorization", "Bearer t")]), Claim::Token("t".into()));
    assert_eq!(claim(dev(), &[("x-insula-user", "bob")]), Claim::Vouched("bob".into()));
    // What is not believed is refused, not passed over.
    assert!(Ways::default().claim(&headers(&[("x-insula-user", "bob")]), ann).is_err());
}
