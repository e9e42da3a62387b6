//! What a CA is made of, as PEM, wherever it is kept.

use std::fmt;

/// Root and issuer. What is absent is made, or (the root's key) kept elsewhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Material {
    /// Trust anchors: ours, and any that an operator adds.
    pub root_pem: Option<String>,
    /// Signs issuers only.
    pub root_key: Option<String>,
    /// Signs leaves: key and certificate.
    pub issuer_pem: Option<String>,
}

impl Material {
    /// Returns the parts by the names under which they are kept. The root's certificate comes after its key: whoever
    /// stops in between has a key that is seen and reported, never half a CA that is used.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, Option<&str>); 3] {
        [
            (ROOT_KEY, self.root_key.as_deref()),
            (ROOT_PEM, self.root_pem.as_deref()),
            (ISSUER_PEM, self.issuer_pem.as_deref()),
        ]
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = self.parts().into_iter().filter_map(|(name, part)| part.map(|_| name));
        f.debug_set().entries(present).finish()
    }
}

pub(crate) const ROOT_PEM: &str = "root.pem";
pub(crate) const ROOT_KEY: &str = "root.key";
pub(crate) const ISSUER_PEM: &str = "issuer.pem";
