// SPDX-License-Identifier: Apache-2.0
//! Names of legacy sessions that any replica of the gateway can read: a name carries what its client said at the start,
//! signed, so that a replica, or this gateway after a restart, opens the session anew where it is asked for.
//!
//! ```text
//! base64url( version 1 | issued 8 | instance 8 | random 16 | principal 16 | params … | HMAC-SHA256 32 )
//! ```
//!
//! A name is a bearer's secret, as every session id is; it is bound to who opened it. What it carries is readable by its
//! client, which said it. That a session was ended is known where it was; at other replicas its name holds until it expires.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biplane::io::Principal;
use biplane::io::sessions::SessionIds;
use biplane::{Error, Result, SessionId};
use bytes::Bytes;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

mod client;

const VERSION: u8 = 1;
/// Characters of a name: it stands in a header of every request.
const MAX_LEN: usize = 1024;
/// Bytes before the params.
const HEAD: usize = 1 + 8 + 8 + 16 + 16;
const TAG: usize = 32;
/// Bytes of params for which there is room.
const ROOM: usize = MAX_LEN / 4 * 3 - HEAD - TAG;
/// Clocks of replicas may differ by this much.
const SKEW: Duration = Duration::from_secs(300);
/// Fewer bytes than a digest has would be its weakest part.
const MIN_KEY: usize = 32;

/// What names are signed with. Every replica has the same one.
#[derive(Clone)]
pub struct SessionKey(hmac::Key);

impl SessionKey {
    /// A key from the bytes of a file or a variable; white space at the ends does not count.
    ///
    /// # Errors
    /// `Config` for fewer than 32 bytes. The key is not repeated.
    pub fn new(secret: &[u8]) -> Result<Self> {
        let secret = secret.trim_ascii();
        if secret.len() < MIN_KEY {
            return Err(Error::config(format!("a session key has at least {MIN_KEY} bytes, got {}", secret.len()))
                .with_hint("make one with `openssl rand -base64 48`, the same for every replica"));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// A key of this process alone: its sessions end with it.
    ///
    /// # Errors
    /// `Unexpected` if the system has no randomness.
    pub fn random() -> Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| Error::unexpected("the system's random generator fails"))
    }

    /// Whether two keys are the same, without showing either.
    pub fn is_same(&self, other: &Self) -> bool {
        let probe = hmac::sign(&self.0, b"same");
        hmac::verify(&other.0, b"same", probe.as_ref()).is_ok()
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(***)")
    }
}

/// Makes and reads the names.
#[derive(Debug)]
pub struct SignedIds {
    key: SessionKey,
    ttl: Duration,
    instance: [u8; 8],
    random: SystemRandom,
    count: AtomicU64,
}

impl SignedIds {
    /// Names that hold for `ttl` from their making.
    ///
    /// # Errors
    /// `Unexpected` if the system has no randomness.
    pub fn new(key: SessionKey, ttl: Duration) -> Result<Self> {
        let random = SystemRandom::new();
        let mut instance = [0; 8];
        random.fill(&mut instance).map_err(|_| Error::unexpected("the system's random generator fails"))?;
        Ok(Self { key, ttl, instance, random, count: AtomicU64::new(0) })
    }

    fn mint_at(&self, now: u64, initialize: &Bytes, principal: Option<&str>) -> SessionId {
        let mut bytes = Vec::with_capacity(HEAD + TAG + 256);
        bytes.push(VERSION);
        bytes.extend_from_slice(&now.to_be_bytes());
        bytes.extend_from_slice(&self.instance);
        bytes.extend_from_slice(&self.unique());
        bytes.extend_from_slice(&self.digest(principal));
        bytes.extend_from_slice(&client::reduced(initialize, ROOM));
        let tag = hmac::sign(&self.key.0, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        SessionId::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn revive_at(&self, now: u64, id: &SessionId, principal: Option<&str>) -> Option<Bytes> {
        if id.as_str().len() > MAX_LEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(id.as_str()).ok()?;
        let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        hmac::verify(&self.key.0, signed, tag).ok()?;
        let (head, params) = signed.split_at_checked(HEAD)?;
        let (version, rest) = head.split_first()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (instance, rest) = rest.split_first_chunk::<8>()?;
        let (_random, owner) = rest.split_first_chunk::<16>()?;
        let issued = u64::from_be_bytes(*issued);
        let holds = *version == VERSION
            && now <= issued.saturating_add(self.ttl.as_secs())
            && issued <= now.saturating_add(SKEW.as_secs())
            && *owner == self.digest(principal)
            // Ours that is not in the table any more was ended.
            && *instance != self.instance;
        holds.then(|| Bytes::copy_from_slice(params))
    }

    /// 128 bits that no other name has.
    fn unique(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if self.random.fill(&mut bytes).is_err() {
            // Not random, yet its own; the tag, which takes the key to make, is what nobody can guess.
            let count = self.count.fetch_add(1, Ordering::Relaxed);
            bytes = [0; 16];
            bytes.iter_mut().zip(count.to_be_bytes()).for_each(|(byte, of_count)| *byte = of_count);
        }
        bytes
    }

    /// Who the name is for. Keyed, so that a name does not give away whose it is.
    fn digest(&self, principal: Option<&str>) -> [u8; 16] {
        let text = match principal {
            Some(name) => format!("principal:{name}"),
            None => "anonymous".to_owned(),
        };
        let mut digest = [0; 16];
        let tag = hmac::sign(&self.key.0, text.as_bytes());
        digest.iter_mut().zip(tag.as_ref()).for_each(|(byte, of_tag)| *byte = *of_tag);
        digest
    }
}

impl SessionIds for SignedIds {
    fn mint(&self, initialize: &Bytes, principal: Option<&Principal>) -> SessionId {
        self.mint_at(now(), initialize, principal.map(Principal::as_str))
    }

    fn revive(&self, id: &SessionId, principal: Option<&Principal>) -> Option<Bytes> {
        self.revive_at(now(), id, principal.map(Principal::as_str))
    }
}

/// Seconds since 1970. Of all our clocks this one must be the wall's: replicas and later processes have to read it.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &str =
        r#"{"protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"name":"c","version":"1"}}"#;
    const DAY: Duration = Duration::from_secs(86_400);

    fn replicas() -> (SignedIds, SignedIds) {
        let key = SessionKey::new(&[7; 32]).unwrap();
        (SignedIds::new(key.clone(), DAY).unwrap(), SignedIds::new(key, DAY).unwrap())
    }

    fn params() -> Bytes {
        Bytes::from_static(PARAMS.as_bytes())
    }

    #[test]
    fn a_replica_reads_what_the_client_said() {
        let (one, two) = replicas();
        let id = one.mint_at(1000, &params(), Some("alice"));
        assert!(id.as_str().bytes().all(|byte| (0x21..=0x7E).contains(&byte)) && id.as_str().len() <= MAX_LEN);
        let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&two.revive_at(1000, &id, Some("alice")).unwrap()), read(PARAMS.as_bytes()));
        assert_ne!(one.mint_at(1000, &params(), None), one.mint_at(1000, &params(), None));
    }

    #[test]
    fn only_for_whom_it_was_made() {
        let (one, two) = replicas();
        let (alice, nobody) = (one.mint_at(0, &params(), Some("alice")), one.mint_at(0, &params(), None));
        for other in [Some("bob"), Some(""), Some("anonymous"), None] {
            assert_eq!(two.revive_at(0, &alice, other), None, "{other:?}");
        }
        assert!(two.revive_at(0, &nobody, None).is_some());
        assert_eq!(two.revive_at(0, &nobody, Some("alice")), None);
        assert_eq!(two.revive_at(0, &nobody, Some("anonymous")), None);
    }

    #[test]
    fn what_this_process_made_and_ended_stays_ended() {
        let (one, two) = replicas();
        let id = one.mint_at(0, &params(), None);
        assert_eq!(one.revive_at(0, &id, None), None);
        assert!(two.revive_at(0, &id, None).is_some());
    }

    #[test]
    fn it_holds_from_its_making_to_its_end() {
        let (one, two) = replicas();
        let id = one.mint_at(10_000, &params(), None);
        let last = 10_000 + DAY.as_secs();
        for (now, holds) in
            [(10_000, true), (last, true), (last + 1, false), (10_000 - 300, true), (10_000 - 301, false)]
        {
            assert_eq!(two.revive_at(now, &id, None).is_some(), holds, "{now}");
        }
        let endless = SignedIds::new(SessionKey::new(&[7; 32]).unwrap(), Duration::MAX).unwrap();
        assert!(endless.revive_at(u64::MAX, &id, None).is_some());
    }

    #[test]
    fn no_byte_of_it_can_be_changed() {
        let (one, two) = replicas();
        let id = one.mint_at(0, &params(), None);
        let text = id.as_str();
        for at in 0..text.len() {
            for other in ["A", "B", "-", "z", ""] {
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                let is_same = changed == text;
                assert_eq!(two.revive_at(0, &SessionId::new(changed), None).is_some(), is_same, "{at} {other:?}");
            }
        }
        for bad in ["", "x", "é", &format!("{text}A"), &format!("{text}="), &"A".repeat(2000)] {
            assert_eq!(two.revive_at(0, &SessionId::new(bad), None), None, "{bad}");
        }
    }

    #[test]
    fn another_key_reads_nothing() {
        let (one, _) = replicas();
        let id = one.mint_at(0, &params(), None);
        let stranger = SignedIds::new(SessionKey::random().unwrap(), DAY).unwrap();
        assert_eq!(stranger.revive_at(0, &id, None), None);
        let error = SessionKey::new(b"  hunter2  ").unwrap_err();
        assert!(!error.to_string().contains("hunter2") && error.to_string().contains("32 bytes"), "{error}");
        assert!(SessionKey::new(&[7; 32]).unwrap().is_same(&SessionKey::new(&[7; 32]).unwrap()));
        assert!(!SessionKey::new(&[7; 32]).unwrap().is_same(&SessionKey::new(&[8; 32]).unwrap()));
    }
}
