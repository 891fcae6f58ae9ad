//! Mail that this server cannot open: encrypted to its owner's public key before it is written anywhere.
//!
//! The key is an age X25519 recipient or an OpenPGP certificate. What is stored, counted and shown is the message that
//! [`protocol_core::message::encrypted`] describes, whose one secret part only the owner opens. It rests like every
//! other message, sealed once more with the organisation's key, so that its addresses are not in clear either and
//! every change of it is found.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_lite::future::block_on;
use pgp::composed::{ArmorOptions, Deserializable, MessageBuilder, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::KeyDetails;
use protocol_core::Timestamp;
use protocol_core::message::{Scanner, Structure, encrypted};
use rand_core::OsRng;

use crate::error::{Error, Refusal, Result};
use crate::facade::Storage;
use crate::objects::Content;
use crate::spool::Spool;
use crate::types::{DomainSettings, Mailbox};

/// Octets of a certificate, in base64 or armored.
const CERTIFICATE_MAX: usize = 256 * 1024;
/// Octets in front of a message in which its header is looked for.
const HEADER_MAX: usize = 1 << 20;
const PIECE: usize = 64 * 1024;

/// A public key to which mail is encrypted.
pub struct Recipient(Key);

#[derive(Clone)]
enum Key {
    Age(age::x25519::Recipient),
    OpenPgp(Box<SignedPublicKey>),
}

impl Recipient {
    /// Reads `age1...`, or an OpenPGP certificate, armored or in base64. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Recipient, String> {
        let text = text.trim();
        if text.len() > CERTIFICATE_MAX {
            return Err("the key is too long".into());
        }
        if text.starts_with("age") {
            let key =
                age::x25519::Recipient::from_str(text).map_err(|why| format!("no age recipient: {why}"))?;
            return Ok(Recipient(Key::Age(key)));
        }
        let key = if text.starts_with("-----BEGIN") {
            SignedPublicKey::from_string(text).map(|(key, _)| key)
        } else {
            let compact: String = text.split_whitespace().collect();
            let raw =
                BASE64.decode(compact).map_err(|_| "neither an age recipient nor an OpenPGP certificate")?;
            SignedPublicKey::from_bytes(raw.as_slice())
        };
        let key = key.map_err(|why| format!("no OpenPGP certificate: {why}"))?;
        Ok(Recipient(Key::OpenPgp(Box::new(key))))
    }

    /// The one of a domain whose mail only its owner reads.
    pub(crate) fn of(settings: &DomainSettings) -> Result<Recipient> {
        let text = settings.enc_e2ee_recipient.as_deref().ok_or_else(|| unusable("none is set".into()))?;
        Recipient::parse(text).map_err(unusable)
    }

    /// Whether mail can be encrypted to it now; else why not.
    pub fn check(&self, now: Timestamp) -> Result<(), String> {
        match &self.0 {
            Key::Age(_) => Ok(()),
            Key::OpenPgp(key) => subkey(key, now).map(drop),
        }
    }

    /// The octets as an age file or an armored OpenPGP message.
    pub(crate) async fn encrypt_octets(
        &self,
        content: Content,
        spool: Spool,
        now: Timestamp,
    ) -> Result<Spool> {
        let key = self.0.clone();
        blocking::unblock(move || {
            let mut spool = spool;
            let mut out = Sink::new(&mut spool, None);
            let source = Source { content, at: 0 };
            match &key {
                Key::Age(key) => age_octets(key, source, &mut out),
                Key::OpenPgp(key) => pgp_octets(subkey(key, now).map_err(unusable)?, source, &mut out),
            }
            .and_then(|()| out.flush())
            .map_err(failed)?;
            drop(out);
            Ok(spool)
        })
        .await
    }

    /// What is shown instead of the message, and its structure. Does the work where blocking is allowed.
    pub(crate) async fn encrypt(
        self,
        content: Content,
        mut shown: Spool,
        now: Timestamp,
    ) -> Result<(Spool, Structure)> {
        blocking::unblock(move || {
            let header = content.read(0, HEADER_MAX)?;
            let mut scanner = Scanner::new();
            let mut out = Sink::new(&mut shown, Some(&mut scanner));
            let source = Source { content, at: 0 };
            match &self.0 {
                Key::Age(key) => age_message(key, &header, source, &mut out),
                Key::OpenPgp(key) => {
                    let subkey = subkey(key, now).map_err(unusable)?;
                    pgp_message(subkey, &header, source, &mut out)
                }
            }
            .and_then(|()| out.flush())
            .map_err(failed)?;
            drop(out);
            Ok((shown, scanner.finish()))
        })
        .await
    }
}

impl Storage {
    /// Refused ([`Refusal::NoEncryptionKey`]) when mail for one of these mailboxes must be encrypted to its owner's key
    /// and there is none that can be used now.
    pub async fn encryption_ready(&self, mailboxes: &[Mailbox]) -> Result<()> {
        let names = mailboxes.iter().filter_map(|mailbox| Some(mailbox.address.rsplit_once('@')?.1));
        for name in names.collect::<BTreeSet<_>>() {
            self.encryption_ready_at(name).await?;
        }
        Ok(())
    }

    /// The same for mail to a domain; one that is not ours needs no key.
    pub async fn encryption_ready_at(&self, domain: &str) -> Result<()> {
        let settings = match self.inner.store.domain_lately(domain).await {
            Err(Error::NotFound) => return Ok(()),
            other => other?.settings,
        };
        if settings.enc_mode.as_deref() == Some("e2ee") {
            Recipient::of(&settings)?.check(self.inner.clock.now()).map_err(unusable)?;
        }
        Ok(())
    }
}

/// Refused because there is no key that can be used.
pub(crate) fn unusable(why: String) -> Error {
    Refusal::NoEncryptionKey(why).into()
}

fn failed(error: io::Error) -> Error {
    Error::Unavailable(format!("encrypt a message: {error}"))
}

fn age_octets(key: &age::x25519::Recipient, mut source: Source, out: &mut impl Write) -> io::Result<()> {
    let recipients = std::iter::once(key as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let mut writer = encryptor.wrap_output(out)?;
    io::copy(&mut source, &mut writer)?;
    writer.finish().map(drop)
}

fn age_message(
    key: &age::x25519::Recipient,
    header: &[u8],
    source: Source,
    out: &mut Sink<'_>,
) -> io::Result<()> {
    out.write_all(&encrypted::age_head(header))?;
    let mut lines = Lines { out, rest: Vec::with_capacity(PIECE + encrypted::LINE_OCTETS) };
    age_octets(key, source, &mut lines)?;
    lines.finish()
}

fn pgp_octets(key: &SignedPublicSubKey, source: Source, out: &mut Sink<'_>) -> io::Result<()> {
    // The form that every OpenPGP program of the last twenty years reads.
    let mut builder = MessageBuilder::from_reader("", source).seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
    builder.encrypt_to_key(OsRng, key).map_err(io::Error::other)?;
    let options = ArmorOptions { headers: None, include_checksum: true };
    builder.to_armored_writer(OsRng, options, CrLf(out)).map_err(io::Error::other)
}

fn pgp_message(
    key: &SignedPublicSubKey,
    header: &[u8],
    source: Source,
    out: &mut Sink<'_>,
) -> io::Result<()> {
    let boundary = crate::Id::random().to_string();
    let (head, tail) = encrypted::pgp_head_and_tail(header, &boundary);
    out.write_all(&head)?;
    pgp_octets(key, source, out)?;
    out.write_all(tail.as_bytes())
}

/// The newest subkey that is bound, valid now, and made for encryption.
fn subkey(key: &SignedPublicKey, now: Timestamp) -> Result<&SignedPublicSubKey, String> {
    key.verify_bindings().map_err(|why| format!("the certificate's signatures are not valid: {why}"))?;
    if !key.details.revocation_signatures.is_empty() {
        return Err("the certificate is revoked".into());
    }
    let now = u64::try_from(now.secs()).unwrap_or(0);
    let of_user = key.details.users.iter().flat_map(|user| &user.signatures);
    let own = newest(of_user.chain(&key.details.direct_signatures));
    if own.is_some_and(|own| is_expired(own, u64::from(key.created_at().as_secs()), now)) {
        return Err("the certificate has expired".into());
    }
    let mut usable: Vec<&SignedPublicSubKey> = Vec::new();
    let mut expired = false;
    for subkey in &key.public_subkeys {
        let revoked = subkey.signatures.iter().any(|s| s.typ() == Some(SignatureType::SubkeyRevocation));
        let Some(binding) = newest(&subkey.signatures).filter(|_| !revoked) else { continue };
        let flags = binding.key_flags();
        if !flags.encrypt_comms() && !flags.encrypt_storage() {
            continue;
        }
        if is_expired(binding, u64::from(subkey.key.created_at().as_secs()), now) {
            expired = true;
        } else {
            usable.push(subkey);
        }
    }
    let best = usable.into_iter().max_by_key(|subkey| subkey.key.created_at().as_secs());
    let why = if expired { "its encryption subkey has expired" } else { "it has no encryption subkey" };
    best.ok_or_else(|| format!("the certificate cannot be encrypted to: {why}"))
}

fn newest<'a>(signatures: impl IntoIterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.into_iter().max_by_key(|signature| signature.created().map_or(0, |at| at.as_secs()))
}

fn is_expired(signature: &Signature, created: u64, now: u64) -> bool {
    let after = signature.key_expiration_time().map(|after| u64::from(after.as_secs()));
    after.is_some_and(|after| after > 0 && created.saturating_add(after) <= now)
}

struct Source {
    content: Content,
    at: u64,
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let piece = self.content.read(self.at, buf.len().min(PIECE)).map_err(io::Error::other)?;
        buf[..piece.len()].copy_from_slice(&piece);
        self.at += piece.len() as u64;
        Ok(piece.len())
    }
}

/// Takes the message that is shown, and reads its structure as it passes.
struct Sink<'a> {
    spool: &'a mut Spool,
    scanner: Option<&'a mut Scanner>,
    waiting: Vec<u8>,
}

impl<'a> Sink<'a> {
    fn new(spool: &'a mut Spool, scanner: Option<&'a mut Scanner>) -> Sink<'a> {
        Sink { spool, scanner, waiting: Vec::with_capacity(2 * PIECE) }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if let Some(scanner) = &mut self.scanner {
            scanner.feed(octets);
        }
        self.waiting.extend_from_slice(octets);
        if self.waiting.len() >= PIECE {
            self.flush()?;
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        block_on(self.spool.write(&self.waiting)).map_err(io::Error::other)?;
        self.waiting.clear();
        Ok(())
    }
}

/// Base64 in lines (RFC 2045 §6.8).
struct Lines<'a, 'b> {
    out: &'a mut Sink<'b>,
    rest: Vec<u8>,
}

impl Lines<'_, '_> {
    fn line(out: &mut Sink<'_>, octets: &[u8]) -> io::Result<()> {
        out.write_all(BASE64.encode(octets).as_bytes())?;
        out.write_all(b"\r\n")
    }

    fn finish(self) -> io::Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Lines::line(self.out, &self.rest) }
    }
}

impl Write for Lines<'_, '_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(octets);
        let whole = self.rest.len() / encrypted::LINE_OCTETS * encrypted::LINE_OCTETS;
        for line in self.rest[..whole].chunks(encrypted::LINE_OCTETS) {
            Lines::line(self.out, line)?;
        }
        self.rest.drain(..whole);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that end in LF are made to end in CRLF, as mail's do.
struct CrLf<'a, 'b>(&'a mut Sink<'b>);

impl Write for CrLf<'_, '_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for line in octets.split_inclusive(|b| *b == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    self.0.write_all(text)?;
                    self.0.write_all(b"\r\n")?;
                }
                None => self.0.write_all(line)?,
            }
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
