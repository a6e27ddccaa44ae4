use std::fs;

use super::*;

fn load(flags: Flags, file: &str) -> Result<Settings, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("insula.toml");
    fs::write(&path, file).unwrap();
    Settings::load(flags, Some(&path))
}

fn refusal(flags: Flags, file: &str) -> String {
    load(flags, file).unwrap_err().to_string()
}

#[test]
fn defaults_hold_where_nothing_is_given() {
    assert_eq!(Settings::load(Flags::default(), None).unwrap(), Settings::default());
}

#[test]
fn a_flag_beats_the_file() {
    let flags = Flags { memory_limit: Some("1GB".into()), ..Flags::default() };
    let settings = load(flags, "memory-limit = \"512MB\"\nstatement_timeout = \"30s\"\ndev = true").unwrap();
    assert_eq!(settings.memory_limit, ByteSize::gb(1));
    assert_eq!(settings.statement_timeout, Duration::from_secs(30));
    assert!(settings.dev);
}

#[test]
fn the_rate_of_compactions_is_a_size_and_0_lifts_it() {
    for (text, bytes) in [("64MB", 64_000_000), ("0", 0), ("1 GiB", 1 << 30)] {
        let settings = load(Flags::default(), &format!("compaction-rate = \"{text}\"")).unwrap();
        assert_eq!(settings.compaction_rate.as_u64(), bytes);
        assert_eq!(crate::serve::store_config(&settings).compaction_bytes_per_second, bytes);
    }
    let message = refusal(Flags::default(), "compaction_rate = \"slowly\"");
    assert!(message.contains("compaction_rate") && message.contains("64MB"), "{message}");
}

#[test]
fn an_unknown_key_is_named() {
    let message = refusal(Flags::default(), "memory_limti = \"1GB\"");
    assert!(message.contains("unknown setting \"memory_limti\"") && message.contains("insula.toml"), "{message}");
}

#[test]
fn a_bad_value_names_its_key_and_source() {
    let message = refusal(Flags::default(), "statement_timeout = \"soon\"");
    assert!(message.contains("statement_timeout") && message.contains("insula.toml"), "{message}");
    let flags = Flags { memory_limit: Some("lots".into()), ..Flags::default() };
    let message = refusal(flags, "");
    assert!(message.contains("memory_limit") && message.contains("command line"), "{message}");
}

#[test]
fn a_missing_file_is_an_error() {
    let message = Settings::load(Flags::default(), Some(Path::new("/nowhere/insula.toml"))).unwrap_err().to_string();
    assert!(message.contains("/nowhere/insula.toml"), "{message}");
}

#[test]
fn believing_names_needs_a_loopback_address() {
    assert!(refusal(Flags::default(), "dev = true\nlisten = \"0.0.0.0:0\"").contains("--dev"));
    let file = "trust_user_header = \"x-user\"\nlisten = \"0.0.0.0:0\"";
    assert!(refusal(Flags::default(), file).contains("--trust-user-header"));
    load(Flags::default(), "dev = true\nlisten = \"[::1]:0\"").unwrap();
}

#[test]
fn a_proxy_with_a_certificate_may_be_anywhere() {
    let far = "trust_user_header = \"x-user\"\nlisten = \"0.0.0.0:0\"\ntls_cert = \"c\"\ntls_key = \"k\"";
    assert!(refusal(Flags::default(), far).contains("--tls-client-ca"));
    load(Flags::default(), &format!("{far}\ntls_client_ca = \"a\"")).unwrap();
    assert!(refusal(Flags::default(), "tls_client_ca = \"a\"").contains("--tls-cert"));
}

#[test]
fn half_of_tls_is_none() {
    assert!(refusal(Flags::default(), "tls_cert = \"cert.pem\"").contains("--tls-key"));
}

#[test]
fn zero_means_no_statement_timeout() {
    let settings = load(Flags::default(), "statement_timeout = \"0s\"").unwrap();
    assert_eq!(settings.statement_limit(), None);
}

#[test]
fn keys_come_by_https_or_from_this_machine() {
    let with = |url: &str| load(Flags::default(), &format!("jwt_jwks = \"{url}\""));
    for local in
        ["http://localhost:8080/keys", "http://127.0.0.1/keys", "http://[::1]:1/keys", "https://far.example/keys"]
    {
        with(local).unwrap();
    }
    for other in
        ["localhost.evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "evil.example", "10.0.0.1", ""]
    {
        let message = with(&format!("http://{other}/keys")).unwrap_err().to_string();
        assert!(message.contains("it must be https"), "{other}: {message}");
    }
}
