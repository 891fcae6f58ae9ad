//! The form of an input: a line of controls, then the octets of a peer.

/// An input of a target that decides something beside reading octets.
pub struct Input<'d> {
    /// The setting.
    pub config: u8,
    /// Where the octets are cut in the third run.
    pub seed: u8,
    /// What is answered, one octet for each question; `.` when they are used up.
    pub answers: &'d [u8],
    /// What the peer sends.
    pub octets: &'d [u8],
}

impl<'d> Input<'d> {
    /// The first line holds setting, seed and answers; all behind its LF is the peer's.
    pub fn new(data: &'d [u8]) -> Self {
        let at = data.iter().position(|&b| b == b'\n').unwrap_or(data.len());
        let (controls, rest) = data.split_at(at);
        Input {
            config: controls.first().copied().unwrap_or(b'0'),
            seed: controls.get(1).copied().unwrap_or(b'0'),
            answers: controls.get(2..).unwrap_or_default(),
            octets: rest.get(1..).unwrap_or_default(),
        }
    }

    /// What the peer sends in one go, separated by 0x1E: behind a change to TLS the rest of a burst is lost.
    pub fn bursts(&self) -> impl Iterator<Item = &'d [u8]> + use<'d> {
        self.octets.split(|&b| b == 0x1e)
    }

    /// The answer to question number `n`.
    pub fn answer(&self, n: usize) -> u8 {
        self.answers.get(n).copied().unwrap_or(b'.')
    }
}

/// How octets are cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Not at all.
    Whole,
    /// Into single octets.
    Octets,
    /// Into pieces of arbitrary lengths.
    Pieces(u8),
}

impl Cut {
    /// The three ways to compare.
    pub fn all(seed: u8) -> [Cut; 3] {
        [Cut::Whole, Cut::Octets, Cut::Pieces(seed)]
    }

    /// The pieces of `octets`, none of them empty.
    pub fn pieces(self, octets: &[u8]) -> Vec<&[u8]> {
        match self {
            _ if octets.is_empty() => Vec::new(),
            Cut::Whole => vec![octets],
            Cut::Octets => octets.chunks(1).collect(),
            Cut::Pieces(seed) => {
                let mut state = u32::from(seed).wrapping_mul(2_654_435_761) | 1;
                let mut rest = octets;
                let mut pieces = Vec::new();
                while !rest.is_empty() {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let len = (state >> 24) as usize % 40 + 1;
                    let (piece, behind) = rest.split_at(len.min(rest.len()));
                    pieces.push(piece);
                    rest = behind;
                }
                pieces
            }
        }
    }
}
