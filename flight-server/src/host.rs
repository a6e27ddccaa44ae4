//! What the engine's tables `system.sessions` and `system.settings` are told of the server.

use std::sync::Arc;

use insula_engine::{Host, HostSession, Session};
use insula_proto::UserNo;

use crate::{identity::Authenticator, settings::Settings};

pub struct ServerHost {
    authenticator: Arc<Authenticator>,
    settings: Vec<(String, String)>,
}

impl ServerHost {
    pub fn new(authenticator: Arc<Authenticator>, settings: &Settings) -> Self {
        Self { authenticator, settings: settings.list() }
    }
}

impl Host for ServerHost {
    fn sessions(&self, of: Option<UserNo>) -> Vec<HostSession> {
        let told = |session: crate::session::SessionInfo| HostSession {
            user: session.user,
            by: if session.by_token { "token" } else { "connection" },
            began: session.began,
            idle: session.idle,
        };
        self.authenticator.sessions(of).into_iter().map(told).collect()
    }

    fn password_changed(&self, session: &Session) {
        self.authenticator.password_changed(session);
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }
}
