//! Where the frames of a WebSocket begin and end (RFC 6455 §5.2). Nothing else of them is looked at.

/// Follows one direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the current frame's header that have passed.
    header: u8,
    /// Bytes of its extended payload length: 0, 2 or 8.
    extended: u8,
    /// Bytes of its masking key: 0 or 4.
    mask: u8,
    /// Its payload length, as far as it has been read; then what is left of the payload.
    payload: u64,
    in_payload: bool,
    is_close: bool,
    has_closed: bool,
}

impl Frames {
    /// Follows `bytes` to the end of the current frame, or as far as they go. How many that are.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut followed = 0;
        while let Some(byte) = bytes.get(followed) {
            if self.in_payload {
                let there = self.payload.min((bytes.len() - followed) as u64);
                self.payload -= there;
                // No more than there are bytes.
                followed += usize::try_from(there).unwrap_or(usize::MAX);
            } else {
                self.read_header(*byte);
                followed += 1;
            }
            if self.in_payload && self.payload == 0 {
                *self = Self { has_closed: self.has_closed || self.is_close, ..Self::default() };
                return followed;
            }
        }
        followed
    }

    /// Follows all of `bytes`.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let followed = self.advance(bytes);
            bytes = &bytes[followed..];
        }
    }

    /// No frame has begun that has not ended.
    pub(super) fn at_boundary(&self) -> bool {
        self.header == 0
    }

    /// A close frame has passed: there must be no other frame after it (RFC 6455 §5.5.1).
    pub(super) fn has_closed(&self) -> bool {
        self.has_closed
    }

    fn read_header(&mut self, byte: u8) {
        match self.header {
            0 => self.is_close = byte & 0x0f == 0x8,
            1 => {
                self.mask = if byte & 0x80 == 0 { 0 } else { 4 };
                (self.extended, self.payload) = match byte & 0x7f {
                    126 => (2, 0),
                    127 => (8, 0),
                    length => (0, length.into()),
                };
            }
            read if read < 2 + self.extended => self.payload = self.payload << 8 | u64::from(byte),
            _ => {} // of the masking key
        }
        self.header += 1;
        self.in_payload = self.header >= 2 && self.header == 2 + self.extended + self.mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, is_masked: bool, payload: usize) -> Vec<u8> {
        let mask = if is_masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match payload {
            0..126 => frame.push(mask | u8::try_from(payload).unwrap()),
            126..65_536 => {
                frame.push(mask + 126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask + 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0xff, payload + if is_masked { 4 } else { 0 }));
        frame
    }

    #[test]
    fn a_frame_ends_where_its_length_says() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            for is_masked in [false, true] {
                let frame = frame(2, is_masked, payload);
                let mut frames = Frames::default();
                assert_eq!(frames.advance(&[&frame[..], &[0x81, 0x01]].concat()), frame.len());
                assert!(frames.at_boundary() && !frames.has_closed(), "{payload} {is_masked}");
                frames.pass(&frame[..frame.len() - 1]);
                assert!(!frames.at_boundary(), "{payload} {is_masked}");
            }
        }
    }

    #[test]
    fn a_close_frame_is_noticed_when_it_has_passed() {
        let close = frame(8, false, 2);
        let mut frames = Frames::default();
        frames.pass(&close[..3]);
        assert!(!frames.has_closed());
        frames.pass(&close[3..]);
        assert!(frames.has_closed());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_frames_come(
            payloads in proptest::collection::vec((any::<bool>(), 0_usize..300), 1..20),
            piece in 1_usize..50,
        ) {
            let all: Vec<u8> = payloads.iter().flat_map(|(is_masked, payload)| frame(1, *is_masked, *payload)).collect();
            let mut frames = Frames::default();
            all.chunks(piece).for_each(|piece| frames.pass(piece));
            prop_assert!(frames.at_boundary());
        }

        #[test]
        fn no_bytes_are_followed_beyond_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::default();
            frames.pass(&bytes);
            prop_assert!(Frames::default().advance(&bytes) <= bytes.len());
        }
    }
}
