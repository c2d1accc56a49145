//! Makes certificates: good ones, and those that a client must refuse.
//!
//! This file does not know connections.

use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::text::{ALPHANUMERIC, random};

/// The kind of certificate for [`StandIn::https_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    OtherHost,
    /// It names 800 other hosts.
    ManyOtherHosts,
    /// [`StandIn::ca_pem`] is that of another authority.
    UnknownAuthority,
    /// It is the certificate of the authority itself.
    Authority,
}

/// A server's certificate with its key, and the authority to trust as PEM.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    trusted: String,
}

/// Returns the server's configuration, and the authority to trust as PEM.
pub(crate) fn tls(certificate: Certificate) -> (ServerConfig, String) {
    /// Nearly all stand-ins are good, so they share the work of making keys.
    static GOOD: LazyLock<Identity> = LazyLock::new(|| new_identity(Certificate::Good));
    let other;
    let identity = if certificate == Certificate::Good {
        &GOOD
    } else {
        other = new_identity(certificate);
        &other
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions of ring")
        .with_no_client_auth()
        .with_single_cert(
            vec![identity.certificate.clone()],
            PrivateKeyDer::Pkcs8(identity.key.clone_key()),
        )
        .expect("a certificate and its key");
    (config, identity.trusted.clone())
}

fn new_identity(certificate: Certificate) -> Identity {
    let authority = new_authority();
    let names = match certificate {
        Certificate::OtherHost => vec!["other.example".to_owned()],
        Certificate::ManyOtherHosts => (0..800).map(|n| format!("other{n}.example")).collect(),
        _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
    };
    let mut params = CertificateParams::new(names).expect("valid names");
    if certificate == Certificate::Expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    params
        .extended_key_usages
        .push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let own_key = KeyPair::generate().expect("a key pair");
    let leaf = params
        .signed_by(&own_key, &authority)
        .expect("a signed certificate");
    let (leaf, key) = match certificate {
        Certificate::Authority => (authority.der(), authority.key()),
        _ => (leaf.der(), &own_key),
    };

    let identity = Identity {
        certificate: leaf.clone(),
        key: key.serialize_der().into(),
        trusted: authority.pem(),
    };
    if certificate == Certificate::UnknownAuthority {
        let trusted = new_authority().pem();
        return Identity {
            trusted,
            ..identity
        };
    }
    identity
}

/// Makes a self-signed certificate authority (ECDSA P-256).
pub(crate) fn new_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(
        rcgen::DnType::CommonName,
        format!("stand-in authority {}", random(8, ALPHANUMERIC)),
    );
    let key = KeyPair::generate().expect("a key pair");
    CertifiedIssuer::self_signed(params, key).expect("a self-signed certificate")
}
