//! A throwaway certificate authority: server certificates for this machine, client certificates with a URI
//! name, and rotation of the files a gateway watches. No revocation lists: a test revokes a whole CA.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// An authority and its key, in memory.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// Where [`Identity::write`] put its two files.
#[derive(Clone, Debug)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes `ca.pem` into a folder.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca.pem");
        replace(&path, &self.pem());
        path
    }

    /// A fresh certificate for a server on this machine.
    pub fn server(&self) -> Identity {
        let mut params = named("localhost");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        self.sign(params)
    }

    /// The same for a server of these names.
    pub fn server_for(&self, names: &[&str]) -> Identity {
        let mut params = named(names[0]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names =
            names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        self.sign(params)
    }

    /// A client certificate whose name is a URI, like `spiffe://acme/checkout`.
    pub fn client(&self, uri: &str) -> Identity {
        self.sign(client_params(uri))
    }

    /// The same, past its last day.
    pub fn expired_client(&self, uri: &str) -> Identity {
        let mut params = client_params(uri);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Identity {
    /// Writes `NAME.pem` and `NAME.key`; again with another identity: a rotation, as an operator's tool does
    /// it. Each file is replaced whole by a rename, the key first, so that the two differ for a moment.
    pub fn write(&self, dir: &Path, name: &str) -> Files {
        let files = Files {
            certificate: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        };
        replace(&files.key, &self.key);
        replace(&files.certificate, &self.certificate);
        files
    }

    /// Key, certificate and CA in one text: what Apache Kafka takes as a PEM key store.
    pub fn key_store(&self, ca: &Ca) -> String {
        [self.key.as_str(), &self.certificate, &ca.pem()].concat()
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn client_params(uri: &str) -> CertificateParams {
    let mut params = named("client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params
}

/// Writes beside and renames over: a reader sees the old file or the new one.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}
