use curb_journal::{Entry, Hash, Journal, ReadError, Reader, export};
use sha2::{Digest, Sha256};

use crate::common::{T0, append, dir, filled, shell};

fn exported(dir: &std::path::Path, after: u64) -> String {
    let mut out = Vec::new();
    export(&Reader::open(dir).unwrap(), after, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A third party's verifier: knows the documentation and SHA-256, uses nothing of this crate. Tells how many
/// records hold, or the number of the first that does not.
fn third_party(lines: &str) -> Result<u64, u64> {
    let mut lines = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let first = lines.next().unwrap();
    assert_eq!(first["format"], "curb-journal-export-1");
    let mut seq = first["after_seq"].as_u64().unwrap();
    let mut prev = hex::decode(first["after_hash"].as_str().unwrap()).unwrap();
    if seq == 0 {
        assert_eq!(
            prev,
            Sha256::digest(b"curb.journal.genesis.v1\0").as_slice()
        );
    }
    let start = seq;
    for line in lines {
        let kind = line["kind"].as_str().unwrap();
        let payload = match line.get("payload") {
            Some(text) => text.as_str().unwrap().as_bytes().to_vec(),
            None => hex::decode(line["payload_hex"].as_str().unwrap()).unwrap(),
        };
        let mut input = b"curb.journal.record.v1\0".to_vec();
        input.extend(&prev);
        input.extend((seq + 1).to_be_bytes());
        input.extend(line["at_ms"].as_i64().unwrap().to_be_bytes());
        input.extend((kind.len() as u64).to_be_bytes());
        input.extend(kind.as_bytes());
        input.extend((payload.len() as u64).to_be_bytes());
        input.extend(payload);
        let hash = Sha256::digest(&input).to_vec();
        let says = (
            line["seq"].as_u64(),
            line["prev"].as_str(),
            line["hash"].as_str(),
        );
        if says
            != (
                Some(seq + 1),
                Some(&hex::encode(&prev)),
                Some(&hex::encode(&hash)),
            )
        {
            return Err(seq + 1);
        }
        (seq, prev) = (seq + 1, hash);
    }
    Ok(seq - start)
}

#[test]
fn a_third_party_verifies_the_export_with_sha_256_alone() {
    let (dir, _) = filled(3_000);
    assert_eq!(third_party(&exported(dir.path(), 0)), Ok(3_000));
    assert_eq!(third_party(&exported(dir.path(), 2_990)), Ok(10));
    assert_eq!(third_party(&exported(dir.path(), 3_000)), Ok(0));
}

#[test]
fn any_payload_comes_through_the_export_byte_for_byte() {
    let dir = dir();
    let mut journal = Journal::open(dir.path()).unwrap();
    let payloads: [&[u8]; 7] = [
        b"",
        b"{\"a\": \"\\u0041\\n\"}",
        "\u{0}\u{1f}\u{7f}\u{2028}\"\\/ \u{1f600}".as_bytes(),
        b"\xff\xfe\x00",
        b"\r\n\n",
        "{\"name\":\"\u{e4}\"}".as_bytes(),
        b"\xed\xa0\x80",
    ];
    for payload in payloads {
        journal
            .append(&[Entry::new(T0, "k\"ind\u{e4}", payload)])
            .unwrap();
    }
    let lines = exported(dir.path(), 0);
    assert_eq!(third_party(&lines), Ok(7));
    assert_eq!(lines.matches("payload_hex").count(), 2);
}

#[test]
fn the_third_party_finds_a_record_that_was_changed_before_the_export() {
    let (dir, _) = filled(20);
    shell(dir.path())
        .execute_batch("UPDATE events SET payload = x'00' WHERE seq = 7")
        .unwrap();
    assert_eq!(third_party(&exported(dir.path(), 0)), Err(7));
}

#[test]
fn the_third_party_finds_a_line_that_was_removed_or_exchanged() {
    let (dir, _) = filled(20);
    let text = exported(dir.path(), 0);
    let lines: Vec<_> = text.lines().collect();
    let mut removed = lines.clone();
    removed.remove(7);
    assert_eq!(third_party(&removed.join("\n")), Err(7));
    let mut exchanged = lines;
    exchanged.swap(7, 8);
    assert_eq!(third_party(&exchanged.join("\n")), Err(7));
}

#[test]
fn an_export_names_its_last_record() {
    let (dir, head) = filled(20);
    let reader = Reader::open(dir.path()).unwrap();
    let last = export(&reader, 0, std::io::sink()).unwrap();
    assert_eq!(last, head);
    let nothing = export(&reader, 20, std::io::sink()).unwrap();
    assert_eq!((nothing.seq, nothing.hash), (head.seq, head.hash));
}

#[test]
fn an_export_after_a_record_that_is_not_there_is_refused() {
    let (dir, _) = filled(3);
    let reader = Reader::open(dir.path()).unwrap();
    let error = export(&reader, 4, std::io::sink()).unwrap_err();
    assert!(
        matches!(error, ReadError::NoSuchRecord { seq: 4 }),
        "{error}"
    );
}

#[test]
fn an_output_that_refuses_ends_the_export_with_its_reason() {
    struct Broken;
    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (dir, _) = filled(3_000);
    let error = export(&Reader::open(dir.path()).unwrap(), 0, Broken).unwrap_err();
    assert!(matches!(&error, ReadError::Output(e) if e.kind() == std::io::ErrorKind::BrokenPipe));
}

#[test]
fn the_form_of_the_lines_is_pinned() {
    let dir = dir();
    append(&mut Journal::open(dir.path()).unwrap(), 1, 1);
    let text = exported(dir.path(), 0);
    let genesis = Hash::genesis();
    let hash = Reader::open(dir.path()).unwrap().head().unwrap().hash;
    let expected = format!(
        "{{\"format\":\"curb-journal-export-1\",\"after_seq\":0,\"after_hash\":\"{genesis}\"}}\n\
         {{\"seq\":1,\"at_ms\":1760000001000,\"kind\":\"ended\",\"payload\":\"{{\\\"n\\\":1}}\",\
         \"prev\":\"{genesis}\",\"hash\":\"{hash}\"}}\n"
    );
    assert_eq!(text, expected);
}
