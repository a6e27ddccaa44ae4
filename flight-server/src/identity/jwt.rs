//! JSON Web Tokens (RFC 7519) of an identity provider: checked against its keys, they name a user and nothing more.
//!
//! Which algorithms are believed is settled by the kind of key that the settings give, and then by their list, never by
//! the token: a public key taken for a shared secret would let anybody sign. Keys of a JWKS (RFC 7517) are read anew
//! when they are old, and when a token names one that is not there, so that a provider may rotate them.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, TokenData, Validation, decode, decode_header, errors::ErrorKind,
    get_current_timestamp, jwk::JwkSet,
};
use moka::sync::Cache;
use parking_lot::RwLock;
use reqwest::redirect::Policy;
use serde_json::{Map, Value};
use tonic::Status;

use super::{
    metadata::is_name,
    tokens::{TokenId, token_id},
};

#[cfg(test)]
mod tests;

/// Of the provider's clock and ours.
const LEEWAY: u64 = 5;
/// Age at which keys are read anew.
const KEYS_AGE: Duration = Duration::from_secs(300);
/// Tokens that name unknown keys make the keys be read no more often than this.
const KEYS_PAUSE: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const LARGEST_JWKS: usize = 1 << 20;
/// A token that was checked once is believed so long without being checked again.
const CHECKED_AGE: Duration = Duration::from_secs(60);
const CHECKED_TOKENS: u64 = 10_000;

/// What the settings say.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    pub keys: Keys,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    /// Empty: all that the keys are for.
    pub algorithms: Vec<Algorithm>,
    pub user_claim: String,
}

#[derive(Clone, Debug)]
pub enum Keys {
    /// Bytes of a shared secret.
    Secret(Secret),
    /// Where a JWKS is.
    File(PathBuf),
    Url(String),
}

/// Not shown.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Algorithms by the names of RFC 7518.
pub fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    let known = |name: &String| Algorithm::from_str(name).map_err(|_| format!("unknown algorithm \"{name}\""));
    names.iter().map(known).collect()
}

pub struct Jwt {
    settings: JwtSettings,
    validation: Validation,
    keys: RwLock<Arc<KeySet>>,
    reading: tokio::sync::Mutex<()>,
    checked: Cache<TokenId, Arc<Checked>>,
}

struct KeySet {
    keys: Vec<Key>,
    /// How often other keys were read. A token that was checked with those of another set is checked again.
    generation: u64,
    read: Instant,
}

struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

struct Checked {
    user: String,
    generation: u64,
    expires: u64,
}

impl Jwt {
    /// Reads the keys, so that a wrong setting is seen at start.
    pub async fn open(settings: JwtSettings) -> Result<Self, String> {
        let keys = KeySet::read(&settings.keys).await?;
        let validation = validation(&settings)?;
        let checked = Cache::builder().max_capacity(CHECKED_TOKENS).time_to_live(CHECKED_AGE).build();
        let (keys, reading) = (RwLock::new(Arc::new(keys)), tokio::sync::Mutex::default());
        Ok(Self { settings, validation, keys, reading, checked })
    }

    /// Whether a bearer token is one of these, and not a session token of ours, which has no dots.
    pub fn is_jwt(token: &str) -> bool {
        token.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// The user's name.
    pub async fn user(&self, token: &str) -> Result<String, Status> {
        let id = token_id(token);
        if let Some(checked) = self.checked.get(&id)
            && get_current_timestamp() < checked.expires
            && checked.generation == self.keys.read().generation
        {
            return Ok(checked.user.clone());
        }
        let header = decode_header(token).map_err(|_| refused("it is malformed"))?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(refused(&format!("the algorithm {:?} is not allowed here", header.alg)));
        }
        let keys = self.keys_with(header.kid.as_deref(), header.alg).await;
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let mut reason = "it names no key that is known here".to_owned();
        for key in keys.matching(header.kid.as_deref(), header.alg) {
            match decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(TokenData { claims, .. }) => {
                    let checked = Arc::new(self.checked_claims(&claims, keys.generation)?);
                    self.checked.insert(id, Arc::clone(&checked));
                    return Ok(checked.user.clone());
                }
                Err(error) => reason = why(error.kind()),
            }
        }
        Err(refused(&reason))
    }

    fn checked_claims(&self, claims: &Map<String, Value>, generation: u64) -> Result<Checked, Status> {
        let claim = &self.settings.user_claim;
        let user = claims.get(claim).and_then(Value::as_str);
        let user = user.ok_or_else(|| refused(&format!("its claim \"{claim}\" is no text")))?.to_owned();
        if !is_name(&user) {
            return Err(refused(&format!("its claim \"{claim}\" is no name: 1 to 256 bytes without NUL")));
        }
        let expires = claims.get("exp").and_then(Value::as_f64).unwrap_or_default().max(0.0) as u64;
        Ok(Checked { user, generation, expires: expires.saturating_add(LEEWAY) })
    }

    /// The keys; read anew if they are old, or lack the wanted one. Where that fails, those that were known serve on.
    async fn keys_with(&self, id: Option<&str>, algorithm: Algorithm) -> Arc<KeySet> {
        let known = Arc::clone(&self.keys.read());
        let wanted = |keys: &KeySet| {
            let age = keys.read.elapsed();
            age < KEYS_PAUSE || (age < KEYS_AGE && keys.matching(id, algorithm).next().is_some())
        };
        if matches!(self.settings.keys, Keys::Secret(_)) || wanted(&known) {
            return known;
        }
        let _reading = self.reading.lock().await;
        let known = Arc::clone(&self.keys.read());
        if wanted(&known) {
            return known;
        }
        let keys = match KeySet::read(&self.settings.keys).await {
            Ok(keys) => KeySet { generation: known.generation + 1, ..keys },
            Err(error) => {
                tracing::warn!("the keys of JWTs cannot be read anew, the old ones serve on: {error}");
                let keys = known.keys.iter().map(Key::again).collect();
                KeySet { keys, generation: known.generation, read: Instant::now() }
            }
        };
        let keys = Arc::new(keys);
        *self.keys.write() = Arc::clone(&keys);
        keys
    }
}

fn validation(settings: &JwtSettings) -> Result<Validation, String> {
    let shared_secret = matches!(settings.keys, Keys::Secret(_));
    let families: &[AlgorithmFamily] = match shared_secret {
        true => &[AlgorithmFamily::Hmac],
        false => &[AlgorithmFamily::Rsa, AlgorithmFamily::Ec, AlgorithmFamily::Ed],
    };
    let possible: Vec<Algorithm> = families.iter().flat_map(|family| family.algorithms()).copied().collect();
    if let Some(wrong) = settings.algorithms.iter().find(|algorithm| !possible.contains(algorithm)) {
        let keys = if shared_secret { "a shared secret" } else { "public keys" };
        return Err(format!("jwt_algorithms: {wrong:?} is not for {keys}; there are {possible:?}"));
    }
    let mut validation = Validation::new(Algorithm::default());
    validation.algorithms = if settings.algorithms.is_empty() { possible } else { settings.algorithms.clone() };
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    validation.validate_aud = settings.audience.is_some();
    let mut required = vec!["exp"];
    if let Some(issuer) = &settings.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    if let Some(audience) = &settings.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    Ok(validation)
}

impl KeySet {
    async fn read(keys: &Keys) -> Result<Self, String> {
        let text = match keys {
            Keys::Secret(secret) => {
                let key = Key { id: None, algorithm: None, key: DecodingKey::from_secret(&secret.0) };
                return Ok(Self { keys: vec![key], generation: 0, read: Instant::now() });
            }
            Keys::File(path) => {
                tokio::fs::read(path).await.map_err(|e| format!("cannot read {}: {e}", path.display()))?
            }
            Keys::Url(url) => fetch(url).await.map_err(|e| format!("cannot fetch {url}: {e}"))?,
        };
        let set: JwkSet = serde_json::from_slice(&text).map_err(|e| format!("the JWKS is malformed: {e}"))?;
        // Keys of kinds that are not known here are for others.
        let keys: Vec<Key> = set.keys.iter().filter_map(Key::of).collect();
        match keys.is_empty() {
            true => Err("the JWKS has no public key of a kind that is supported (RSA, EC, Ed25519)".into()),
            false => Ok(Self { keys, generation: 0, read: Instant::now() }),
        }
    }

    fn matching(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| {
            (id.is_none() || key.id.is_none() || key.id.as_deref() == id)
                && key.algorithm.is_none_or(|own| own == algorithm)
                && key.key.family() == algorithm.family()
        })
    }
}

impl Key {
    fn of(jwk: &jsonwebtoken::jwk::Jwk) -> Option<Self> {
        let key = DecodingKey::from_jwk(jwk).ok().filter(|key| key.family() != AlgorithmFamily::Hmac)?;
        let algorithm = match &jwk.common.key_algorithm {
            Some(named) => Some(Algorithm::from_str(&named.to_string()).ok()?),
            None => None,
        };
        Some(Self { id: jwk.common.key_id.clone(), algorithm, key })
    }

    fn again(&self) -> Self {
        Self { id: self.id.clone(), algorithm: self.algorithm, key: self.key.clone() }
    }
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    // Whoever gives the keys names the users: the address that the settings give, and no other that it points to.
    let client = reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .redirect(Policy::none())
        .https_only(url.starts_with("https://"))
        .build()
        .map_err(|e| e.to_string())?;
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(|e| e.without_url().to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}, and redirects are not followed", answer.status()));
    }
    let mut text = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
        text.extend_from_slice(&part);
        if text.len() > LARGEST_JWKS {
            return Err(format!("it is larger than {LARGEST_JWKS} bytes"));
        }
    }
    Ok(text)
}

fn refused(reason: &str) -> Status {
    Status::unauthenticated(format!("the JWT was refused: {reason}"))
}

fn why(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired".into(),
        ErrorKind::ImmatureSignature => "it is not valid yet (nbf)".into(),
        ErrorKind::InvalidIssuer => "its issuer (iss) is another one".into(),
        ErrorKind::InvalidAudience => "its audience (aud) is another one".into(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it lacks the claim \"{claim}\""),
        ErrorKind::InvalidSignature => "its signature is wrong".into(),
        _ => "it is malformed".into(),
    }
}
