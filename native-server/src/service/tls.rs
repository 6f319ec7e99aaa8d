//! The server's certificate: read from two PEM files, and read again when they change.
//!
//! Invariant: connections are accepted with the last pair that was whole. A pair that cannot be used stops a server from
//! starting, and a running one goes on with the pair that it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyperspace_core::error::{Error, Result};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::until;
use super::work::block;
use crate::settings::Settings;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// What clients are offered to speak inside.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate and the files that it comes from.
pub(super) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    present: ArcSwap<Present>,
}

/// A pair of files that was whole.
struct Present {
    files: [Vec<u8>; 2],
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the pair of the settings; nothing when there is none.
    ///
    /// # Errors
    /// `InvalidArgument` that names the setting whose file is missing, broken or of another pair.
    pub(super) fn open(settings: &Settings) -> Result<Option<Arc<Self>>> {
        let (Some(certificate), Some(key)) = (&settings.tls_cert, &settings.tls_key) else { return Ok(None) };
        let present = Present::read(certificate, key)?;
        let (certificate, key, present) = (certificate.clone(), key.clone(), ArcSwap::from_pointee(present));
        Ok(Some(Arc::new(Self { certificate, key, present })))
    }

    /// What takes the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.present.load().config))
    }

    /// Takes the pair that the files have now; says whether it is another one.
    ///
    /// # Errors
    /// Those of [`Tls::open`]; the pair stays as it was.
    fn refresh(&self) -> Result<bool> {
        let files = [read("tls_cert", &self.certificate)?, read("tls_key", &self.key)?];
        if files == self.present.load().files {
            return Ok(false);
        }
        self.present.store(Arc::new(Present::of(files, &self.certificate, &self.key)?));
        Ok(true)
    }
}

impl Present {
    fn read(certificate: &Path, key: &Path) -> Result<Self> {
        Self::of([read("tls_cert", certificate)?, read("tls_key", key)?], certificate, key)
    }

    fn of(files: [Vec<u8>; 2], certificate: &Path, key: &Path) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(&files[0]).collect::<std::result::Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| wrong("tls_cert", certificate, &format!("is no PEM: {error}")))?;
        if chain.is_empty() {
            return Err(wrong("tls_cert", certificate, "has no certificate"));
        }
        let private = PrivateKeyDer::from_pem_slice(&files[1])
            .map_err(|error| wrong("tls_key", key, &format!("has no private key: {error}")))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| Error::internal(format!("TLS versions: {error}")))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| wrong("tls_cert", certificate, &format!("and {} are no pair: {error}", key.display())))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self { files, config: Arc::new(config) })
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| wrong(setting, path, &format!("cannot be read: {error}")))
}

fn wrong(setting: &str, path: &Path, why: &str) -> Error {
    Error::invalid_argument(format!("{setting} {} {why}", path.display()))
}

/// Takes other files when there are some, until the server stops.
pub(super) async fn follow(tls: Arc<Tls>, stopping: watch::Receiver<bool>) {
    let mut trouble = String::new();
    loop {
        tokio::select! {
            () = until(stopping.clone()) => return,
            () = sleep(LOOK) => {}
        }
        let same = Arc::clone(&tls);
        match block(move || same.refresh()).await {
            Ok(is_other) => {
                trouble.clear();
                if is_other {
                    info!("the certificate was replaced");
                }
            }
            Err(error) if error.message() != trouble => {
                warn!(%error, "the certificate stays as it is");
                error.message().clone_into(&mut trouble);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use hyperspace_core::error::ErrorKind;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    /// The two files of a new certificate.
    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn settings(folder: &Path) -> Settings {
        let [tls_cert, tls_key] = ["cert.pem", "key.pem"].map(|name| Some(folder.join(name)));
        Settings { tls_cert, tls_key, ..Settings::default() }
    }

    #[test]
    fn a_pair_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let ((certificate, key), (_, other)) = (pair(), pair());
        let cases: [(Option<&str>, Option<&str>, &str); 6] = [
            (None, Some(&key), "tls_cert"),
            (Some(&certificate), None, "tls_key"),
            (Some("nothing"), Some(&key), "has no certificate"),
            (Some(&certificate), Some("nothing"), "has no private key"),
            (Some(&key), Some(&certificate), "has no certificate"),
            (Some(&certificate), Some(&other), "are no pair"),
        ];
        for (certificate, key, named) in cases {
            for (path, text) in [(&settings.tls_cert, certificate), (&settings.tls_key, key)] {
                let path = path.as_ref().unwrap();
                let _ = fs::remove_file(path);
                text.iter().for_each(|text| fs::write(path, text).unwrap());
            }
            let Err(error) = Tls::open(&settings) else { panic!("{named}: was accepted") };
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(named) && error.message().contains(".pem"), "{named}: {error}");
            assert!(!error.message().contains("PRIVATE KEY"), "{error}");
        }
    }

    #[test]
    fn other_files_are_taken_once_both_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let write = |path: &Option<PathBuf>, text: &str| fs::write(path.as_ref().unwrap(), text).unwrap();
        let ((certificate, key), (other, others_key)) = (pair(), pair());
        write(&settings.tls_cert, &certificate);
        write(&settings.tls_key, &key);
        let tls = Tls::open(&settings).unwrap().unwrap();
        let first = Arc::clone(&tls.present.load().config);
        assert!(!tls.refresh().unwrap());
        write(&settings.tls_cert, &other);
        assert!(tls.refresh().is_err(), "half of a new pair");
        assert!(Arc::ptr_eq(&first, &tls.present.load().config));
        write(&settings.tls_key, &others_key);
        assert!(tls.refresh().unwrap() && !tls.refresh().unwrap());
        assert!(!Arc::ptr_eq(&first, &tls.present.load().config));
    }
}
