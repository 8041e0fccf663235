//! What is sent is what arrives, byte for byte, also where it is against the protocol: that is for the two ends to judge.

use tokio::io::AsyncWriteExt as _;

use super::super::stage::{BOTH, Stage, in_time};
use super::{frame, opened};

const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// By name, what a case consists of; in the order and with the numbers of Autobahn's, where it has them.
fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let framed = |first, payload: &[u8]| frame(first, MASK, payload);
    let of_size = |first, size| frame(first, MASK, &b"*".repeat(size));
    let mut cases = vec![
        ("1: sizes", [0, 125, 126, 127, 128, 65_535, 65_536].map(|size| of_size(TEXT, size)).concat()),
        ("1: sizes, binary", [0, 125, 126, 127, 128, 65_535, 65_536].map(|size| of_size(BINARY, size)).concat()),
        ("2: pings and pongs", [framed(PING, b""), framed(PING, &[0xfe; 125]), framed(PONG, b"unasked")].concat()),
        ("2.5: a ping that is too long", of_size(PING, 126)),
        ("3: reserved bits", [framed(0xd1, b"rsv1 is compression's"), framed(0xb1, b"x"), framed(0xf9, b"x")].concat()),
        ("4: reserved opcodes", (3..8).chain(11..16).flat_map(|opcode| framed(0x80 | opcode, b"?")).collect()),
        ("5: fragments", [framed(0x01, b"a"), framed(0x00, b""), framed(0x80, b"b")].concat()),
        (
            "5: a ping between fragments",
            [framed(0x01, b"a"), framed(PING, b"now"), framed(0x00, b"b"), framed(PONG, b""), framed(0x80, b"c")]
                .concat(),
        ),
        ("5: a ping in fragments", [framed(0x09, b"a"), framed(0x80, b"b")].concat()),
        ("5: a continuation of nothing", framed(0x80, b"b")),
        ("6: UTF-8", framed(TEXT, "κόσμε 🧥".as_bytes())),
        ("6: no UTF-8", [framed(TEXT, b"\xce\xba\xed\xa0\x80"), framed(0x01, b"\xce"), framed(0x80, b"\xba")].concat()),
        ("9: many small ones", (0_u8..=255).flat_map(|byte| framed(BINARY, &[byte])).collect()),
        ("9: 16 MiB in one frame", of_size(BINARY, 16 << 20)),
        ("9: 1 MiB in frames of 64", [of_size(0x02, 64), of_size(0x00, 64).repeat(16_382), of_size(0x80, 64)].concat()),
        ("12: a compressed message", framed(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")),
        ("a length in more bytes than it needs", [&[BINARY, 127, 0, 0, 0, 0, 0, 0, 0, 1][..], b"x"].concat()),
        ("a frame without a mask", frame(TEXT, None, b"from the page")),
    ];
    for code in
        [0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1011, 1012, 1015, 1016, 2999, 3000, 4401, 4999, 65_535]
    {
        let code = u16::to_be_bytes(code);
        cases.push((
            "7: a close frame, and another",
            [framed(CLOSE, &code), framed(CLOSE, &[&code[..], b"why"].concat())].concat(),
        ));
    }
    cases.push((
        "7: close frames without a code, with half of one, and too long",
        [framed(CLOSE, b""), framed(CLOSE, b"\x03"), of_size(CLOSE, 126)].concat(),
    ));
    cases
}

#[tokio::test]
async fn frames_arrive_as_they_were_sent_both_ways() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let (mut page, mut call) = opened(&mut stage, version).await;
        for (name, frames) in cases() {
            let ((), up) = tokio::join!(page.sends(&frames), call.takes(frames.len()));
            let ((), down) = tokio::join!(call.says(&frames), page.takes(frames.len()));
            assert!(up == frames && down == frames, "{version:?} {name}");
        }
    }
}

#[tokio::test]
async fn both_ways_are_open_at_the_same_time_and_neither_waits_for_the_other() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let (mut page, mut call) = opened(&mut stage, version).await;
        let frames = frame(BINARY, MASK, &vec![7; 4 << 20]);
        // Nobody reads until all is written from the API, whose bytes have to wait for the page's.
        let (mut reading, mut writing) = tokio::io::split(&mut page.0);
        let (mut from, mut to) = call.stream.split();
        let (mut at_page, mut at_api) = (vec![0; frames.len()], vec![0; frames.len()]);
        let all = async {
            tokio::try_join!(
                async { writing.write_all(&frames).await.and(writing.flush().await) },
                async { to.write_all(&frames).await },
                async { tokio::io::AsyncReadExt::read_exact(&mut reading, &mut at_page).await.map(|_| ()) },
                async { tokio::io::AsyncReadExt::read_exact(&mut from, &mut at_api).await.map(|_| ()) },
            )
        };
        in_time(all).await.unwrap();
        assert!(at_page == frames && at_api == frames, "{version:?}");
    }
}

#[tokio::test]
async fn frames_sent_a_byte_at_a_time_arrive() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let (mut page, mut call) = opened(&mut stage, version).await;
        let frames = [frame(0x01, MASK, b"one"), frame(PING, MASK, b"two"), frame(0x80, MASK, b"three")].concat();
        for byte in &frames {
            page.sends(std::slice::from_ref(byte)).await;
            call.reads([*byte]).await;
            call.says([*byte]).await;
            page.reads(std::slice::from_ref(byte)).await;
        }
    }
}
