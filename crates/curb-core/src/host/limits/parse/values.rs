//! Texts of single values of a file of limits.

use std::net::SocketAddr;

use super::{MAX_ARGUMENTS, MAX_TEXT};
use crate::amount::{Amount, AmountError, Unit};
use crate::host::limits::Network;
use crate::host::limits::model::{
    Condition, CpuSet, CpuSetError, EndThrashing, EndThrashingError, Gpu, Reach, Resource,
};
use crate::host::{Bytes, BytesPerSecond, MilliCpu, Percent, Permille};
use crate::time::Millis;
use crate::yaml::read::{too_many, value};
use crate::yaml::values::{self, Wrong, wrong};
use crate::yaml::{Place, Reader, Value, quoted};

const BYTES: &str = "a size such as `16GiB` or `512MiB`";
const CPUS: &str = "a number of CPUs such as `2`, `0.5` or `500m`";
const RATE: &str = "a rate such as `100MiB/s`";

/// The kernel takes no CPU quota below a millisecond in each tenth of a second.
pub const LEAST_CPU: MilliCpu = MilliCpu(10);

/// An amount of memory, none included.
pub fn bytes(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Bytes> {
    value(r, at, BYTES, read_bytes)
}

/// An amount of memory above zero.
pub fn some_bytes(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Bytes> {
    value(r, at, BYTES, |text| match read_bytes(text)? {
        Bytes(0) => wrong(
            format!("wanted {BYTES}, got {}, which is nothing", quoted(text)),
            "leave the field out for no limit",
        ),
        some => Ok(some),
    })
}

fn read_bytes(text: &str) -> Result<Bytes, Wrong> {
    let got = quoted(text);
    Amount::parse_declared(Unit::Bytes, text)
        .map(|Amount(n)| Bytes(n))
        .or_else(|error| match error {
            AmountError::Negative(_) => wrong(
                format!("wanted {BYTES}, got {got}, which is negative"),
                "an amount is zero or more",
            ),
            AmountError::NoUnit(n) => wrong(
                format!("{got} would be {n} bytes"),
                &format!("put the unit behind the number: `{n}MiB` or `{n}GiB`"),
            ),
            AmountError::TooFine { .. } => wrong(format!("{got} is no whole number of bytes"), ""),
            AmountError::TooLarge(_) => wrong(
                format!("{got} is larger than any amount that can be declared"),
                "the largest is 8192 TiB",
            ),
            AmountError::Unparsable { .. } => {
                wrong(format!("wanted {BYTES}, got {got}"), &size_help(text))
            }
        })
}

/// `4Gb` and `4 gig` are `4GB`; what is meant by the letters is not guessed beyond their first.
fn size_help(text: &str) -> String {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    match unit.trim().chars().next().map(|c| c.to_ascii_uppercase()) {
        Some(letter @ ('K' | 'M' | 'G' | 'T' | 'P')) if !number.is_empty() => {
            format!("write `{number}{letter}iB`")
        }
        _ => String::new(),
    }
}

/// CPUs, at least what the kernel takes.
pub fn cpu(r: &mut Reader<'_>, at: &Place<'_>) -> Option<MilliCpu> {
    value(r, at, CPUS, |text| {
        let got = quoted(text);
        match Amount::parse_count(text) {
            Ok(Amount(0)) => wrong(
                format!("wanted {CPUS}, got {got}, which is nothing"),
                "leave the field out for no limit",
            ),
            Ok(Amount(n)) if n < LEAST_CPU.0 => wrong(
                format!("{got} is less than the kernel can hold"),
                "the least is 0.01",
            ),
            Ok(Amount(n)) => Ok(MilliCpu(n)),
            Err(AmountError::Negative(_)) => wrong(
                format!("wanted {CPUS}, got {got}, which is negative"),
                "leave the field out for no limit",
            ),
            Err(_) => wrong(format!("wanted {CPUS}, got {got}"), ""),
        }
    })
}

/// A number of bytes in each second.
pub fn rate(r: &mut Reader<'_>, at: &Place<'_>) -> Option<BytesPerSecond> {
    value(r, at, RATE, |text| {
        let Some((size, "s")) = text.split_once('/').map(|(size, per)| (size, per.trim())) else {
            let help = match read_bytes(text) {
                Ok(_) => format!("write `{}/s`", text.trim()),
                Err(_) => String::new(),
            };
            return wrong(format!("wanted {RATE}, got {}", quoted(text)), &help);
        };
        match Amount::parse_declared(Unit::Bytes, size) {
            Ok(Amount(n)) if n >= LEAST_RATE => Ok(BytesPerSecond(n)),
            Ok(_) => wrong(
                format!("{} is too slow to read a page in a second", quoted(text)),
                "the least is 4KiB/s; leave the field out for no limit",
            ),
            Err(_) => wrong(format!("wanted {RATE}, got {}", quoted(text)), ""),
        }
    })
}

/// A page in a second.
const LEAST_RATE: u64 = 4096;

/// A span of at least a second, unless `none` is allowed too.
pub fn span(r: &mut Reader<'_>, at: &Place<'_>, least: Millis, most: Millis) -> Option<Millis> {
    value(r, at, "a span of time such as `30s`", |text| {
        values::span(text, least, most)
    })
}

/// Whole hundredths.
pub fn percent(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Percent> {
    value(r, at, "a part such as `50%`", |text| {
        values::percent(text).map(Percent)
    })
}

/// How much more: `25%` or `+25%`; up to ten times.
pub fn growth(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Permille> {
    const FORM: &str = "how much more, from `+1%` to `+1000%`";
    value(r, at, FORM, |text| {
        let number = text.trim().trim_start_matches('+');
        match permille(number) {
            Some(n @ Permille(10..=10_000)) => Ok(n),
            _ => wrong(format!("wanted {FORM}, got {}", quoted(text)), ""),
        }
    })
}

/// `90%`, `92.5%`.
fn permille(text: &str) -> Option<Permille> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() > 1 || whole.len() > 5 {
        return None;
    }
    let (whole, tenth): (u32, u32) = (whole.parse().ok()?, tenth.parse().ok()?);
    Some(Permille(whole * 10 + tenth))
}

/// `0-3,6`.
pub fn cpu_set(r: &mut Reader<'_>, at: &Place<'_>) -> Option<CpuSet> {
    const FORM: &str = "CPUs by number, such as `\"0-3,6\"`";
    value(r, at, FORM, |text| {
        text.parse().or_else(|error: CpuSetError| {
            let help = match error {
                CpuSetError::Form => String::new(),
                other => other.to_string(),
            };
            wrong(format!("wanted {FORM}, got {}", quoted(text)), &help)
        })
    })
}

/// GPUs by number or UUID; none of them twice.
pub fn gpus(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Vec<Gpu>> {
    if !r.is_list(at, "a list of GPUs such as `[0, 1]`; `[]` for none") {
        return None;
    }
    if too_many(r, at, at.items().count(), "GPUs") {
        return None;
    }
    let mut all: Vec<Gpu> = Vec::new();
    let mut sound = true;
    for one in at.items() {
        let Some(gpu) = value(r, &one, "a GPU by number or UUID", gpu) else {
            sound = false;
            continue;
        };
        if all.contains(&gpu) {
            r.error(
                &one,
                &format!("GPU {gpu} is in the list already"),
                "name each once",
            );
            sound = false;
        }
        all.push(gpu);
    }
    sound.then_some(all)
}

fn gpu(text: &str) -> Result<Gpu, Wrong> {
    if let Ok(index) = text.parse::<u32>() {
        return Ok(Gpu::Index(index));
    }
    let id = text
        .strip_prefix("GPU-")
        .or_else(|| text.strip_prefix("MIG-"))
        .unwrap_or_default();
    let fits = (1..=120).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'/');
    if fits {
        return Ok(Gpu::Uuid(text.to_owned()));
    }
    wrong(
        format!("wanted a GPU, got {}", quoted(text)),
        "write its number, or its `GPU-…` or `MIG-…` (see `nvidia-smi -L`)",
    )
}

/// A text of one line.
pub fn text(r: &mut Reader<'_>, at: &Place<'_>, what: &str) -> Option<String> {
    let text = r.string(at, what)?;
    if text.chars().count() > MAX_TEXT {
        let message = format!("longer than {MAX_TEXT} characters");
        r.error(at, &message, "");
        return None;
    }
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        let message = format!("wanted {what}, got {}", quoted(text));
        r.error(
            at,
            &message,
            "write it on one line, without control characters",
        );
        return None;
    }
    Some(text.to_owned())
}

/// A program and its arguments.
pub fn argv(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Vec<String>> {
    if let Value::Scalar { text, .. } = &at.node.value {
        let words: Vec<&str> = text.split_whitespace().collect();
        let message = format!(
            "wanted a list of program and arguments, got {}",
            quoted(text)
        );
        let help = format!("write `[{}]`: no shell takes it apart", words.join(", "));
        r.error(at, &message, if words.len() > 8 { "" } else { &help });
        return None;
    }
    if !r.is_list(
        at,
        "a list of program and arguments, such as `[python, server.py]`",
    ) {
        return None;
    }
    let words: Vec<Place<'_>> = at.items().collect();
    if words.is_empty() || words.len() > MAX_ARGUMENTS {
        let message = match words.len() {
            0 => "a command of nothing".to_owned(),
            n => format!("{n} words: at most {MAX_ARGUMENTS} fit in a command"),
        };
        r.error(at, &message, "write `[program, argument, …]`");
        return None;
    }
    let all: Vec<String> = words.iter().filter_map(|w| word(r, w)).collect();
    if all.len() < words.len() {
        return None;
    }
    if all[0].trim().is_empty() {
        r.error(
            &words[0],
            "a program without a name",
            "write its name or path first",
        );
        return None;
    }
    Some(all)
}

/// One word of a command: any text, numbers too, but nothing that no program can be given.
fn word(r: &mut Reader<'_>, at: &Place<'_>) -> Option<String> {
    let text = r.text(at, "a word of a command")?;
    let message = if text.chars().count() > MAX_TEXT {
        format!("a word of more than {MAX_TEXT} characters")
    } else if text.contains('\0') {
        "a word with a zero byte, which no program can be given".to_owned()
    } else {
        return Some(text.to_owned());
    };
    r.error(at, &message, "");
    None
}

/// `127.0.0.1:8080`.
pub fn address(r: &mut Reader<'_>, at: &Place<'_>) -> Option<SocketAddr> {
    const FORM: &str = "an address such as \"127.0.0.1:8080\"";
    value(r, at, FORM, |text| {
        if let Ok(address) = text.trim().parse::<SocketAddr>() {
            return Ok(address);
        }
        let help = match text.rsplit_once(':') {
            Some(("localhost" | "", port)) => format!("write \"127.0.0.1:{port}\""),
            None if text.parse::<u16>().is_ok() => format!("write \"127.0.0.1:{text}\""),
            _ => "write the IP address and the port; names are not looked up".to_owned(),
        };
        wrong(format!("wanted {FORM}, got {}", quoted(text)), &help)
    })
}

/// `10.0.0.0/8`, or one address.
pub fn network(r: &mut Reader<'_>, at: &Place<'_>) -> Option<Network> {
    value(r, at, "a network such as \"10.0.0.0/8\"", |text| {
        let network = text.trim().parse::<Network>();
        network.or_else(|why| wrong(why.to_string(), "names are not looked up"))
    })
}

/// A day, as `2026-11-20`.
pub fn day(r: &mut Reader<'_>, at: &Place<'_>) -> Option<String> {
    const FORM: &str = "a day such as `2026-11-20`";
    value(r, at, FORM, |text| {
        let day = text.parse::<jiff::civil::Date>();
        match day {
            Ok(day) if text.len() == 10 => Ok(day.to_string()),
            _ => wrong(format!("wanted {FORM}, got {}", quoted(text)), ""),
        }
    })
}

/// `30s`, `never`.
pub fn end_thrashing(text: &str) -> Result<EndThrashing, Wrong> {
    text.parse().or_else(|error: EndThrashingError| {
        let help = match error {
            EndThrashingError::TooShort(_) => "write `30s`; to act as soon as it is known, add a step `when: memory thrashing` to its ladder",
            EndThrashingError::Form => "",
        };
        wrong(format!("{error}, got {}", quoted(text)), help)
    })
}

/// `memory > 90%`, `memory = 100%`, `memory thrashing`.
pub fn condition(text: &str) -> Result<Condition, Wrong> {
    const FORM: &str = "a condition such as `memory > 90%`, `memory = 100%` or `memory thrashing`";
    let form = |help: &str| wrong(format!("wanted {FORM}, got {}", quoted(text)), help);
    let mut words = text.split_whitespace();
    if let (Some(name), Some("thrashing"), None) = (words.next(), words.next(), words.next()) {
        return match name == Resource::Memory.name() {
            true => Ok(Condition {
                what: Resource::Memory,
                reach: Reach::Thrashing,
            }),
            false => form("only memory thrashes: write `memory thrashing`"),
        };
    }
    let Some(at) = text.find(['<', '>', '=']) else {
        return form("");
    };
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let sign = rest.len() - rest.trim_start_matches(['<', '>', '=']).len();
    let (sign, part) = rest.split_at(sign);
    let Some(what) = Resource::ALL.into_iter().find(|r| r.name() == name) else {
        let all: Vec<&str> = Resource::ALL.into_iter().map(Resource::name).collect();
        return form(&format!("a ladder watches {}", all.join(", ")));
    };
    let Some(part) = permille(part) else {
        return form("write the part of the limit in percent: `90%`, `92.5%`");
    };
    let reach = match (sign, part) {
        ("=" | "==", Permille::WHOLE) => Reach::Met,
        (">", Permille(1..1000)) => Reach::Above(part),
        (">" | ">=", _) if part >= Permille::WHOLE => {
            return form(&format!("nothing passes a limit: write `{name} = 100%`"));
        }
        ("=" | "==" | ">=", Permille(1..1000)) => {
            return form(&format!("write `{name} > {part}`"));
        }
        _ => return form(""),
    };
    Ok(Condition { what, reach })
}

/// A signal by name or number that a program can take.
pub fn signal(text: &str) -> Result<i32, Wrong> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .or_else(|| name.parse().ok());
    match number {
        Some(9 | 19) => wrong(
            format!("no program can take {}: it saves nothing", quoted(text)),
            "name a signal that the program answers by saving, such as `USR1`",
        ),
        Some(n @ 1..=64) => Ok(n),
        _ => wrong(
            format!("wanted a signal such as `USR1`, got {}", quoted(text)),
            "",
        ),
    }
}

/// Names of signals with their numbers on Linux.
pub const SIGNALS: [(&str, i32); 15] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("URG", 23),
    ("WINCH", 28),
    ("IO", 29),
];
