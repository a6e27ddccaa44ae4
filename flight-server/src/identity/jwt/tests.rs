use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tonic::Code;

use super::*;

const SECRET: &[u8] = b"thirty-two bytes that none other";

fn settings() -> JwtSettings {
    JwtSettings {
        keys: Keys::Secret(Secret(SECRET.to_vec())),
        issuer: Some("https://issuer.example".into()),
        audience: Some("insula".into()),
        algorithms: Vec::new(),
        user_claim: "sub".into(),
    }
}

fn claims() -> Value {
    let now = get_current_timestamp();
    json!({ "sub": "ann", "iss": "https://issuer.example", "aud": "insula", "exp": now + 60, "nbf": now - 60 })
}

fn token(claims: &Value, algorithm: Algorithm, secret: &[u8]) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

async fn refusal(settings: JwtSettings, token: &str) -> String {
    let status = Jwt::open(settings).await.unwrap().user(token).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    status.message().to_owned()
}

#[tokio::test]
async fn a_token_names_its_user() {
    let jwt = Jwt::open(settings()).await.unwrap();
    let token = token(&claims(), Algorithm::HS256, SECRET);
    assert!(Jwt::is_jwt(&token));
    // The second time from memory.
    for _ in 0..2 {
        assert_eq!(jwt.user(&token).await.unwrap(), "ann");
    }
}

#[tokio::test]
async fn the_claim_is_a_setting() {
    let settings = JwtSettings { user_claim: "email".into(), ..settings() };
    let mut claims = claims();
    let without = token(&claims, Algorithm::HS256, SECRET);
    assert!(refusal(settings.clone(), &without).await.contains("\"email\" is no text"));
    claims["email"] = json!("ann@example.com");
    let with = token(&claims, Algorithm::HS256, SECRET);
    assert_eq!(Jwt::open(settings).await.unwrap().user(&with).await.unwrap(), "ann@example.com");
}

#[tokio::test]
async fn every_claim_that_is_wrong_or_missing_is_refused() {
    let now = get_current_timestamp();
    let cases = [
        ("exp", json!(now - 60), "expired"),
        ("exp", Value::Null, "exp"),
        ("nbf", json!(now + 60), "not valid yet"),
        ("iss", json!("https://other.example"), "issuer"),
        ("iss", Value::Null, "iss"),
        ("aud", json!("other"), "audience"),
        ("aud", Value::Null, "aud"),
        ("sub", json!(7), "sub"),
        ("sub", Value::Null, "sub"),
    ];
    for (claim, value, reason) in cases {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            value => claims[claim] = value,
        }
        let message = refusal(settings(), &token(&claims, Algorithm::HS256, SECRET)).await;
        assert!(message.contains(reason), "{claim}: {message}");
    }
}

#[tokio::test]
async fn signatures_and_algorithms_are_checked() {
    let wrong = token(&claims(), Algorithm::HS256, b"another secret of thirty-two byte");
    assert!(refusal(settings(), &wrong).await.contains("signature"));
    let narrow = JwtSettings { algorithms: vec![Algorithm::HS512], ..settings() };
    let message = refusal(narrow, &token(&claims(), Algorithm::HS256, SECRET)).await;
    assert!(message.contains("HS256 is not allowed"), "{message}");
    // `{"alg":"none","typ":"JWT"}`, and no signature.
    let body = token(&claims(), Algorithm::HS256, SECRET).split('.').nth(1).unwrap().to_owned();
    refusal(settings(), &format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.")).await;
    for malformed in ["..", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30."] {
        refusal(settings(), malformed).await;
    }
}

#[tokio::test]
async fn algorithms_must_fit_the_keys() {
    let wrong = JwtSettings { algorithms: vec![Algorithm::RS256], ..settings() };
    assert!(Jwt::open(wrong).await.err().unwrap().contains("RS256"));
}

#[tokio::test]
async fn a_shared_secret_in_a_jwks_is_no_public_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}]}"#).unwrap();
    let settings = JwtSettings { keys: Keys::File(file.path().into()), ..settings() };
    assert!(Jwt::open(settings).await.err().unwrap().contains("no public key"));
}

#[tokio::test]
async fn what_other_keys_signed_is_checked_again() {
    let jwt = Jwt::open(settings()).await.unwrap();
    let token = token(&claims(), Algorithm::HS256, SECRET);
    jwt.user(&token).await.unwrap();
    // As if its check had begun before the keys were changed, and was noted after.
    *jwt.keys.write() = Arc::new(KeySet { keys: Vec::new(), generation: 1, read: Instant::now() });
    assert!(jwt.user(&token).await.is_err());
}

#[tokio::test]
async fn keys_that_cannot_be_read_anew_serve_on_with_what_they_checked() {
    let mut jwt = Jwt::open(settings()).await.unwrap();
    jwt.settings.keys = Keys::File("/nowhere/jwks.json".into());
    let old = Instant::now().checked_sub(KEYS_AGE).unwrap();
    let keys = jwt.keys.read().keys.iter().map(Key::again).collect();
    *jwt.keys.write() = Arc::new(KeySet { keys, generation: 7, read: old });
    let kept = jwt.keys_with(None, Algorithm::HS256).await;
    assert!(kept.generation == 7 && kept.keys.len() == 1 && kept.read > old);
}

/// Answers one request; the address to ask.
async fn answering(answer: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    format!("http://{address}/keys")
}

#[tokio::test]
async fn keys_are_not_fetched_from_where_their_address_points() {
    let direct = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(fetch(&direct).await.unwrap(), b"{}");
    let target = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
    let error = fetch(&answering(redirect.leak()).await).await.unwrap_err();
    assert!(error.contains("redirects are not followed"), "{error}");
}
