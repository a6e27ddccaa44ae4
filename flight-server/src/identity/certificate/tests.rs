use base64::{Engine as _, engine::general_purpose::STANDARD};
use tonic::Code;

use super::*;

/// Subject `O=Example, CN=ann`; alternative names `URI:urn:app:billing, DNS:billing.example`.
const ANN: &str = "\
    MIIBxTCCAWugAwIBAgIUEAo5r9SEYrsdI0s5bVa0FT+qMA0wCgYIKoZIzj0EAwIwIDEQMA4GA1UECgwHRXhhbXBsZTEMMAoGA1UE\
    AwwDYW5uMCAXDTI2MTEyMzE1MzQxMloYDzIxMjYxMDMwMTUzNDEyWjAgMRAwDgYDVQQKDAdFeGFtcGxlMQwwCgYDVQQDDANhbm4w\
    WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS5RjqaCN63coJwa1W+gyw6wHrh2I6W3gfh2ZDLBWKmZjEgHv0zxipzdU7APaDpedgB\
    QnQ0JHz7AEel2qkZZ051o4GAMH4wHQYDVR0OBBYEFFspg9KwxhvnC8KJSYStSqYyeEQFMB8GA1UdIwQYMBaAFFspg9KwxhvnC8KJ\
    SYStSqYyeEQFMA8GA1UdEwEB/wQFMAMBAf8wKwYDVR0RBCQwIoYPdXJuOmFwcDpiaWxsaW5ngg9iaWxsaW5nLmV4YW1wbGUwCgYI\
    KoZIzj0EAwIDSAAwRQIgE9+Sa4q0BztJE3AxVvQF8N2VIan/RydEx0gsK5OHAFYCIQDVBJyiKfFu+6uZMh4RwpwpCHCqZmOJrfPq\
    blps/Z5p6g==";

/// Subject `CN=ann, CN=bob`; no alternative names.
const TWO_NAMES: &str = "\
    MIIBjzCCATWgAwIBAgIUZ1dj1rNAqLIJDS5PeAlm/vC+MEEwCgYIKoZIzj0EAwIwHDEMMAoGA1UEAwwDYW5uMQwwCgYDVQQDDANi\
    b2IwIBcNMjYxMTIzMTUzNDEyWhgPMjEyNjEwMzAxNTM0MTJaMBwxDDAKBgNVBAMMA2FubjEMMAoGA1UEAwwDYm9iMFkwEwYHKoZI\
    zj0CAQYIKoZIzj0DAQcDQgAEWLBGDy8oJ8osCqk5avwSK9ggBZyATdyI3GL4NTe9dAkClbtVPbQ58FTkvjKiO9cpOk/sLXl51qAy\
    WO/9UwgItKNTMFEwHQYDVR0OBBYEFNRWrOp+EDLQKTeLRSlenpXjfQYaMB8GA1UdIwQYMBaAFNRWrOp+EDLQKTeLRSlenpXjfQYa\
    MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgNDvOUsVFIDzn3pDZm2MY6D2VNrD+0slQB9/F5mgO3SECIQCCHrvC\
    y2h8no4fPIMcClbauHl7GsVsCIFAjM6HLPmDOg==";

fn der(text: &str) -> Vec<u8> {
    STANDARD.decode(text.replace(char::is_whitespace, "")).unwrap()
}

#[test]
fn the_setting_says_which_part_is_the_name() {
    assert_eq!(user(&der(ANN), NameIn::Cn).unwrap(), "ann");
    assert_eq!(user(&der(ANN), NameIn::San).unwrap(), "urn:app:billing");
}

#[test]
fn two_common_names_are_none() {
    let refused = user(&der(TWO_NAMES), NameIn::Cn).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("exactly one common name"), "{refused}");
    assert!(user(&der(TWO_NAMES), NameIn::San).is_err());
}

#[test]
fn what_is_no_certificate_is_refused() {
    let ann = der(ANN);
    for end in [0, 1, 40, ann.len() - 1] {
        assert_eq!(user(&ann[..end], NameIn::Cn).unwrap_err().code(), Code::Unauthenticated);
    }
}
