//! Join tokens that were used, on disk before a certificate is handed out, so that a restart does not forget them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::token::seconds;
use super::{AuthorityError, Claims, directory};

/// The nonces of used tokens until these have expired.
#[derive(Debug)]
pub struct UsedTokens {
    path: PathBuf,
    file: File,
    expiry: HashMap<String, u64>,
    // At how many entries the expired ones are thrown out.
    prune_at: usize,
}

impl UsedTokens {
    /// Opens the list in a CA directory.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(directory: &Path, now: SystemTime) -> Result<Self, AuthorityError> {
        let path = directory.join("used-tokens");
        let text = directory::read(&path)?.unwrap_or_default();
        // A line cut short by a crash belongs to a token whose certificate never left: it may be used again.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut expiry = HashMap::new();
        for line in whole.lines() {
            let parsed = line.split_once(' ').and_then(|(expires, nonce)| Some((nonce, expires.parse().ok()?)));
            let Some((nonce, expires)) = parsed else {
                // To skip it could mean to accept a token twice.
                let problem =
                    format!("cannot read the line `{line}`: remove the file when no minted token is still valid");
                return Err(AuthorityError::Content { path, problem });
            };
            expiry.insert(nonce.to_owned(), expires);
        }
        let file = rewrite(&path, &mut expiry, now)?;
        Ok(Self { path, file, prune_at: prune_at(expiry.len()), expiry })
    }

    /// Uses a token up; `false` when it was used before. When this returns `true`, it is on disk.
    ///
    /// # Errors
    /// When it cannot be written: the token counts as used all the same.
    pub fn claim(&mut self, claims: &Claims, now: SystemTime) -> Result<bool, AuthorityError> {
        if self.expiry.contains_key(&claims.nonce) {
            return Ok(false);
        }
        self.expiry.insert(claims.nonce.clone(), claims.expires);
        if self.expiry.len() >= self.prune_at {
            self.file = rewrite(&self.path, &mut self.expiry, now)?;
            self.prune_at = prune_at(self.expiry.len());
            return Ok(true);
        }
        let line = format!("{} {}\n", claims.expires, claims.nonce);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| AuthorityError::File { path: self.path.clone(), what: "write", source })?;
        Ok(true)
    }
}

fn prune_at(entries: usize) -> usize {
    2 * entries.max(64)
}

/// Writes the list anew without what has expired, and opens it to append.
fn rewrite(path: &Path, expiry: &mut HashMap<String, u64>, now: SystemTime) -> Result<File, AuthorityError> {
    let now = seconds(now);
    expiry.retain(|_, expires| *expires >= now);
    let lines: String = expiry.iter().map(|(nonce, expires)| format!("{expires} {nonce}\n")).collect();
    directory::write(path, lines.as_bytes())?;
    directory::open(OpenOptions::new().append(true), path)
}
