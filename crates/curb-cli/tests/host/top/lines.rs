//! The lines of the screen, from values alone.

use curb_cli::show::top::{Screen, lines};
use curb_cli::term::View;
use curb_core::host::audit::{Effective, Framework, Machine};
use curb_core::host::top::{Board, Counts, CpuUsed, MemoryFrom, Reading, Sort};
use curb_core::host::{Bytes, MilliCpu};
use curb_core::time::{Millis, Timestamp};
use unicode_width::UnicodeWidthStr;

/// 2026-11-22 14:00 UTC.
const NOW: i64 = 1_795_356_000_000;

fn reading(name: &str, mebibytes: u64, cpu: u64, killed: u64) -> Reading {
    Reading {
        key: name.to_owned(),
        name: name.to_owned(),
        frameworks: vec![Framework::Mlx],
        processes: 2,
        memory: Some(Bytes(mebibytes << 20)),
        memory_from: MemoryFrom::Group,
        memory_limit: Effective::held(Bytes(1536 << 20), "memory.max"),
        cpu: CpuUsed::Group(cpu),
        cpu_limit: Effective::held(MilliCpu(2000), "cpu.max"),
        tasks: Some(12),
        tasks_limit: Effective::held(64, "pids.max"),
        counts: Counts {
            killed: Some(killed),
            ..Counts::default()
        },
    }
}

fn board() -> Board {
    let mut board = Board::default();
    for look in 0..80_u64 {
        let outside = Reading {
            memory_from: MemoryFrom::Resident,
            memory_limit: Effective::Unlimited,
            cpu_limit: Effective::unknown("closed"),
            tasks_limit: Effective::Unlimited,
            counts: Counts::default(),
            ..reading("python\u{1b}[2J (pid 4242)", 300, look * 100_000, 0)
        };
        let looks = vec![
            reading(
                "curb-chat-7-1",
                200 + look * 16,
                look * 1_950_000,
                u64::from(look > 69),
            ),
            reading(
                "curb-a-name-that-is-longer-than-there-is-room-for",
                15,
                0,
                3,
            ),
            outside,
        ];
        let at = Timestamp(NOW - (79 - i64::try_from(look).expect("small")) * 1000);
        board.take(at, (look > 0).then_some(Millis(1000)), looks);
    }
    board
}

fn shown(width: usize, height: usize, unicode: bool) -> String {
    let board = board();
    let screen = Screen {
        board: &board,
        machine: Machine {
            memory: Some(Bytes(24 << 30)),
            swap: None,
            cpus: Some(8),
        },
        sort: Sort::Headroom,
        filter: "",
        typing: false,
        unicode,
        trouble: None,
    };
    let view = View {
        width: Some(width),
        color: false,
        now: Timestamp(NOW),
        zone: Some(jiff::tz::TimeZone::UTC),
    };
    let lines = lines(&screen, &view, height);
    assert!(lines.len() <= height, "{lines:?}");
    for line in &lines {
        assert!(line.width() <= width, "{width}: {line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    lines.join("\n")
}

#[test]
fn at_80_columns_and_wider() {
    insta::assert_snapshot!("80", shown(80, 24, false));
    insta::assert_snapshot!("140", shown(140, 24, true));
}

#[test]
fn no_size_is_too_small_or_too_large() {
    for width in 73..200 {
        for height in [5, 24] {
            shown(width, height, true);
        }
    }
}
