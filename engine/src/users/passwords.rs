//! Passwords are hashed and compared by argon2, which is meant to take time and memory: so no more than the processors
//! can do are at work at once, however many callers, none of whom has shown yet who they are.

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::{Error, ErrorKind, Result};

#[cfg(test)]
mod tests;

/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Passwords {
    turns: Arc<Semaphore>,
    patience: Duration,
    /// Verified where there is no password, so that this answer takes as long as "wrong password".
    decoy: String,
}

impl Passwords {
    /// `never`: a password that nobody knows.
    pub async fn new(never: String) -> Result<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        let turns = Arc::new(Semaphore::new(processors));
        let mut passwords = Self { turns, patience: PATIENCE, decoy: String::new() };
        passwords.decoy = passwords.hash(never).await?;
        Ok(passwords)
    }

    pub async fn hash(&self, password: String) -> Result<String> {
        self.in_turn(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?
            .map_err(|e| Error::internal(format!("cannot hash a password: {e}")))
    }

    /// `stored`: the hash; without one no password is right, after the same work.
    pub async fn is_right(&self, stored: Option<String>, given: String) -> Result<bool> {
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.clone());
        Ok(self.in_turn(move || verify(&stored, &given)).await? && exists)
    }

    /// Not on a network thread. The turn ends with the work, also where its caller has gone.
    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| {
            let text = "more passwords are waiting to be checked than the server gets done; try again";
            Error::new(ErrorKind::ResourceExhausted, text)
        })?;
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))
    }
}

fn verify(stored: &str, given: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|stored| Argon2::default().verify_password(given.as_bytes(), &stored).is_ok())
}
