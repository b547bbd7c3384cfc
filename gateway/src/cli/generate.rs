//! Throwaway certificates and keys, for the demo and for a first try of your own setup.

use std::{io, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::{ambient::Ambient, keys};

/// Why nothing could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum GenerateError {
    #[error("couldn't write `{file}`: {why}")]
    Write { file: String, why: io::Error },
    #[error("couldn't create a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Keyring(#[from] crate::keys::KeyringError),
}

/// Writes a file, its folders too.
pub(super) fn write(file: &Path, text: &str) -> Result<(), GenerateError> {
    let failed = |why| GenerateError::Write { file: file.display().to_string(), why };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(file, text).map_err(failed)
}

/// Makes a folder that its owner alone may enter.
pub(super) fn private_folder(folder: &Path) -> Result<(), GenerateError> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |why| GenerateError::Write { file: folder.display().to_string(), why };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)
}

/// For each client, settings with which Kafka's clients get in: `NAME.properties` for Java, `NAME.conf` for librdkafka
/// and what is built on it, such as kcat. Both read the certificates of [`certificates`].
pub(super) fn kafka_clients(
    folder: &Path,
    certs: &Path,
    bootstrap: &str,
    clients: &[&str],
) -> Result<(), GenerateError> {
    let failed = |why| GenerateError::Write { file: certs.display().to_string(), why };
    let certs = std::path::absolute(certs).map_err(failed)?;
    let folder = std::path::absolute(folder).map_err(failed)?;
    let ca = certs.join("ca.pem").display().to_string();
    for name in clients {
        let [certificate, key] = ["pem", "key"].map(|end| certs.join(format!("{name}.{end}")));
        let read = |file: &Path| std::fs::read_to_string(file).map_err(failed);
        // Java wants both in one file.
        let both = folder.join(format!("{name}.pem"));
        let librdkafka = format!(
            "bootstrap.servers={bootstrap}\nsecurity.protocol=ssl\nssl.ca.location={ca}\n\
             ssl.certificate.location={}\nssl.key.location={}\n",
            certificate.display(),
            key.display()
        );
        write(&folder.join(format!("{name}.conf")), &librdkafka)?;
        write_secret(&both, &(read(&key)? + &read(&certificate)?))?;
        let java = format!(
            "bootstrap.servers={bootstrap}\nsecurity.protocol=SSL\nssl.truststore.type=PEM\n\
             ssl.truststore.location={ca}\nssl.keystore.type=PEM\nssl.keystore.location={}\n\
             group.id={name}-1\n",
            both.display()
        );
        write(&folder.join(format!("{name}.properties")), &java)?;
    }
    Ok(())
}

/// Writes a file that its owner alone may read.
fn write_secret(file: &Path, text: &str) -> Result<(), GenerateError> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let failed = |why| GenerateError::Write { file: file.display().to_string(), why };
    let mut options = std::fs::OpenOptions::new();
    let mut open =
        options.write(true).create(true).truncate(true).mode(0o600).open(file).map_err(failed)?;
    open.write_all(text.as_bytes()).map_err(failed)
}

/// A fresh master key for each name, and the ledger's search key.
pub(super) fn keyring(file: &Path, names: &[&str], ambient: &Ambient) -> Result<(), GenerateError> {
    let names = names.iter().copied().chain([crate::digests::SEARCH_KEY]);
    file.parent().map_or(Ok(()), private_folder)?;
    write_secret(file, &keys::generate(names, &*ambient.random)?)
}

/// An authority, a server certificate for this machine, and a client certificate for each name,
/// as `spiffe://TRUST/NAME`.
pub(super) fn certificates(
    folder: &Path,
    trust: &str,
    clients: &[&str],
) -> Result<(), GenerateError> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Sluicegate throwaway CA");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    write(&folder.join("ca.pem"), &authority.pem())?;
    let server = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
        SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
    ];
    issue(folder, "server", server, ExtendedKeyUsagePurpose::ServerAuth, &authority)?;
    for client in clients {
        let name = vec![SanType::URI(format!("spiffe://{trust}/{client}").try_into()?)];
        issue(folder, client, name, ExtendedKeyUsagePurpose::ClientAuth, &authority)?;
    }
    Ok(())
}

fn issue(
    folder: &Path,
    file: &str,
    names: Vec<SanType>,
    usage: ExtendedKeyUsagePurpose,
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> Result<(), GenerateError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.distinguished_name.push(DnType::CommonName, file);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    write(&folder.join(format!("{file}.pem")), &certificate.pem())?;
    write_secret(&folder.join(format!("{file}.key")), &key.serialize_pem())
}
