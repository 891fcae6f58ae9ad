//! The two buffers of a connection. The driver owns them; a machine sees them only during one `poll`.

use alloc::vec::Vec;
use core::fmt;

/// A buffer is given back to this size when it stands empty, so that an idle connection costs little.
const IDLE_CAPACITY: usize = 1024;
/// The least room offered for one read while the limit allows it.
const READ_MIN: usize = 1024;

/// Bytes received and not yet consumed.
///
/// Memory grows with what arrives, never beyond the limit given to [`RecvBuf::with_limit`]. Slices that a
/// machine returns borrow from here; bytes move only in [`RecvBuf::spare`], when no such borrow can exist.
///
/// The buffer remembers how far [`RecvBuf::find_lf`] has looked, so a peer that sends byte by byte costs
/// O(n), not O(n²).
pub struct RecvBuf {
    data: Vec<u8>,
    /// `data[head..tail]` is unread; `data[tail..]` is room.
    head: usize,
    tail: usize,
    /// `data[head..searched]` holds no LF.
    searched: usize,
    /// `data[..wipe]` held secrets and is overwritten at the next compaction.
    wipe: usize,
    limit: usize,
    /// The last read filled all the room there was: offer more next time.
    filled: bool,
    eof: bool,
}

impl RecvBuf {
    /// An empty buffer that will hold at most `limit` octets.
    pub fn with_limit(limit: usize) -> Self {
        RecvBuf { data: Vec::new(), head: 0, tail: 0, searched: 0, wipe: 0, limit, filled: false, eof: false }
    }

    // ---- for the driver -------------------------------------------------------------------------------

    /// Room to read into. Empty means "do not read": that is the whole back-pressure rule.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.eof {
            return &mut [];
        }
        self.compact();
        let free = self.data.len() - self.tail;
        if (free < READ_MIN || self.filled) && self.data.len() < self.limit {
            self.filled = false;
            let grown = (self.data.len() * 2).max(self.tail + READ_MIN).min(self.limit);
            self.data.resize(grown, 0);
        }
        &mut self.data[self.tail..]
    }

    /// `read` octets were written to the front of [`RecvBuf::spare`].
    pub fn commit(&mut self, read: usize) {
        assert!(self.tail + read <= self.data.len(), "more octets committed than there was room for");
        self.tail += read;
        self.filled = read > 0 && self.tail == self.data.len();
    }

    /// The peer closed its side. An input like any other.
    pub fn commit_eof(&mut self) {
        self.eof = true;
    }

    /// Copies `bytes` in, as far as they fit; how many did. For tests and drivers with their own buffers.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare();
        let n = spare.len().min(bytes.len());
        spare[..n].copy_from_slice(&bytes[..n]);
        self.commit(n);
        n
    }

    /// Gives memory back when the buffer is empty and larger than an idle connection needs.
    pub fn shrink(&mut self) {
        if self.is_empty() && self.data.len() > IDLE_CAPACITY {
            self.wipe_secrets();
            self.data = Vec::new();
            (self.head, self.tail, self.searched) = (0, 0, 0);
        }
    }

    /// Forgets everything received and not consumed (RFC 3207 §4.2: what stands behind STARTTLS).
    pub fn discard_all(&mut self) {
        self.consume(self.len());
    }

    // ---- for the machine ------------------------------------------------------------------------------

    /// The unread octets.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.head..self.tail]
    }

    /// How many octets are unread.
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether nothing is unread.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether the peer has closed its side; unread octets may still be here.
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// Whether no further octet fits until some are consumed.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Offset of the first LF among the unread octets. Each octet is looked at once, however often this is called.
    pub fn find_lf(&mut self) -> Option<usize> {
        let from = self.searched.max(self.head);
        match memchr::memchr(b'\n', &self.data[from..self.tail]) {
            Some(at) => {
                self.searched = from + at;
                Some(self.searched - self.head)
            }
            None => {
                self.searched = self.tail;
                None
            }
        }
    }

    /// Drops `n` octets from the front.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "more octets consumed than received");
        self.head += n;
        self.searched = self.searched.max(self.head);
    }

    /// Takes `n` octets from the front; they stay in place until the next [`RecvBuf::spare`].
    pub fn take(&mut self, n: usize) -> &[u8] {
        let start = self.head;
        self.consume(n);
        &self.data[start..start + n]
    }

    /// Like [`RecvBuf::take`], for secrets: the octets are overwritten when the buffer next compacts.
    pub fn take_secret(&mut self, n: usize) -> &[u8] {
        let start = self.head;
        self.consume(n);
        self.wipe = self.head;
        &self.data[start..start + n]
    }

    /// Like [`RecvBuf::take`], and what follows, unconsumed, for look-ahead.
    pub fn take_and_rest(&mut self, n: usize) -> (&[u8], &[u8]) {
        let start = self.head;
        self.consume(n);
        (&self.data[start..start + n], &self.data[start + n..self.tail])
    }

    fn compact(&mut self) {
        self.wipe_secrets();
        if self.head == self.tail {
            (self.head, self.tail, self.searched) = (0, 0, 0);
        } else if self.head > 0 && self.data.len() - self.tail < READ_MIN {
            self.data.copy_within(self.head..self.tail, 0);
            self.searched = self.searched.saturating_sub(self.head);
            self.tail -= self.head;
            self.head = 0;
        }
    }

    fn wipe_secrets(&mut self) {
        if self.wipe > 0 {
            zeroize::Zeroize::zeroize(&mut self.data[..self.wipe]);
            self.wipe = 0;
        }
    }
}

impl Drop for RecvBuf {
    fn drop(&mut self) {
        self.wipe_secrets();
    }
}

impl fmt::Debug for RecvBuf {
    /// Lengths only: the octets may hold passwords and mail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBuf").field("len", &self.len()).field("eof", &self.eof).finish_non_exhaustive()
    }
}

/// Bytes to send. Replies coalesce here until the driver writes them.
pub struct SendBuf {
    data: Vec<u8>,
    head: usize,
    high_water: usize,
}

impl SendBuf {
    /// An empty buffer; [`SendBuf::is_high`] holds from `high_water` unsent octets on.
    pub fn with_high_water(high_water: usize) -> Self {
        SendBuf { data: Vec::new(), head: 0, high_water }
    }

    /// The octets not yet written to the peer.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.head..]
    }

    /// `written` octets went to the peer.
    pub fn advance(&mut self, written: usize) {
        assert!(written <= self.data.len() - self.head, "more octets sent than there were");
        self.head += written;
        if self.head == self.data.len() {
            self.data.clear();
            self.head = 0;
        }
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.head == self.data.len()
    }

    /// How many octets are not yet sent.
    pub fn len(&self) -> usize {
        self.data.len() - self.head
    }

    /// Whether a machine should stop and ask for a flush.
    pub fn is_high(&self) -> bool {
        self.len() >= self.high_water
    }

    /// Appends `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Appends one octet.
    pub fn push_u8(&mut self, byte: u8) {
        self.data.push(byte);
    }

    /// Appends `n` in decimal, without allocating.
    pub fn push_decimal(&mut self, mut n: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }

    /// Gives memory back when everything is sent and more is held than an idle connection needs.
    pub fn shrink(&mut self) {
        if self.is_empty() && self.data.capacity() > IDLE_CAPACITY {
            self.data = Vec::new();
            self.head = 0;
        }
    }
}

impl fmt::Write for SendBuf {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}

impl fmt::Debug for SendBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBuf").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_across_commits_and_compaction() {
        let mut buf = RecvBuf::with_limit(4096);
        assert_eq!(buf.feed(b"EHLO a\r"), 7);
        assert_eq!(buf.find_lf(), None);
        buf.feed(b"\nMAIL");
        assert_eq!(buf.find_lf(), Some(7));
        assert_eq!(buf.take(8), b"EHLO a\r\n");
        assert_eq!(buf.find_lf(), None);
        buf.feed(b" FROM:<>\r\n");
        let at = buf.find_lf().unwrap();
        assert_eq!(buf.take(at + 1), b"MAIL FROM:<>\r\n");
        assert!(buf.is_empty());
    }

    #[test]
    fn a_full_buffer_offers_no_room_and_one_octet_less_does() {
        let mut buf = RecvBuf::with_limit(2000);
        let mut fed = 0;
        while !buf.is_full() {
            fed += buf.feed(&[b'x'; 999]);
        }
        assert_eq!(fed, 2000);
        assert!(buf.spare().is_empty());
        buf.consume(1);
        assert_eq!(buf.spare().len(), 1);
    }

    #[test]
    fn a_peer_that_fills_the_buffer_is_offered_more_room() {
        let mut buf = RecvBuf::with_limit(16_384);
        let mut rooms = std::vec::Vec::new();
        for _ in 0..6 {
            let room = buf.spare().len();
            rooms.push(room);
            buf.commit(room);
            buf.consume(room);
        }
        assert_eq!(rooms, [1024, 2048, 4096, 8192, 16_384, 16_384]);
        buf.shrink();
        assert_eq!(buf.spare().len(), 1024);
    }

    #[test]
    fn secrets_are_overwritten_when_the_buffer_compacts() {
        let mut buf = RecvBuf::with_limit(4096);
        buf.feed(b"hunter2\r\nNOOP\r\n");
        assert_eq!(buf.take_secret(9), b"hunter2\r\n");
        buf.spare();
        assert!(!buf.data.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(buf.bytes(), b"NOOP\r\n");
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let mut out = SendBuf::with_high_water(64);
        for n in [0, 7, 10, u64::MAX] {
            out.push_decimal(n);
            out.push_u8(b' ');
        }
        assert_eq!(out.bytes(), b"0 7 10 18446744073709551615 ");
    }

    #[test]
    fn high_water_counts_unsent_octets_only() {
        let mut out = SendBuf::with_high_water(4);
        out.push(b"abc");
        assert!(!out.is_high());
        out.push(b"d");
        assert!(out.is_high());
        out.advance(1);
        assert!(!out.is_high());
    }
}
