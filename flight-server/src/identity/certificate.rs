//! The user that a client's certificate names, under mutual TLS. The TLS library has checked the chain.

use serde::{Deserialize, Serialize};
use tonic::Status;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

#[cfg(test)]
mod tests;

/// Which part of the certificate is the user's name.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameIn {
    /// The common name of the subject.
    #[default]
    Cn,
    /// The first alternative name of the subject that is an e-mail address, a DNS name or a URI.
    San,
}

/// `der`: the client's own certificate.
pub fn user(der: &[u8], name: NameIn) -> Result<String, Status> {
    let refused = |reason: &str| Status::unauthenticated(format!("the client certificate {reason}"));
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| refused("cannot be read"))?;
    let found = match name {
        NameIn::Cn => {
            let mut names = certificate.subject().iter_common_name();
            let first = names.next().and_then(|name| name.as_str().ok()).map(str::to_owned);
            // Of two names a proxy might check the one and the server believe the other.
            if names.next().is_some() { None } else { first }
        }
        NameIn::San => alternative(&certificate),
    };
    found.ok_or_else(|| {
        refused(match name {
            NameIn::Cn => "has not exactly one common name in its subject",
            NameIn::San => "has no alternative name that is an e-mail address, a DNS name or a URI",
        })
    })
}

fn alternative(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::RFC822Name(name) | GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        _ => None,
    })
}
