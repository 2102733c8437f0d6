//! A certificate authority for tests.

use super::Folder;

/// A certificate authority with a certificate for each name, as files.
pub struct Certificates {
    pub authority: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    pub fn new(folder: &Folder) -> Self {
        let mut parameters =
            rcgen::CertificateParams::new(Vec::<String>::new()).expect("no names to refuse");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "offramp tests");
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = parameters.self_signed(&key).expect("a certificate");
        let path = folder.write("ca.pem", authority.pem());
        Self {
            authority: path,
            issuer: rcgen::Issuer::new(parameters, key),
        }
    }

    /// Returns the paths of the certificate and the key for `name`.
    pub fn issue(&self, folder: &Folder, name: &str) -> (String, String) {
        let mut parameters =
            rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name or an address");
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .expect("a certificate");
        (
            folder.write(&format!("{name}.pem"), certificate.pem()),
            folder.write(&format!("{name}.key"), key.serialize_pem()),
        )
    }
}
