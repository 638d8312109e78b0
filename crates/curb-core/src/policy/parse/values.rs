//! Texts of single values: amounts, spans, rates, periods, windows, moments, zones.
//!
//! Each reader gives the value, or what was wanted in the words of the person who wrote the file.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::amount::{Amount, AmountError, Unit};
use crate::policy::model::{Period, Rate};
use crate::resource::Resource;
use crate::time::{Millis, Timestamp};

use crate::yaml::quoted;
use crate::yaml::values::wrong;
pub(super) use crate::yaml::values::{Wrong, percent, span};

/// A zone by its IANA name, in any case of letters, from the data in the program: what a policy means does not depend
/// on the machine.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled()
        .get(name)
        .ok()
        .filter(|z| z.iana_name().is_some())
}

/// The names of all zones.
pub fn zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled()
        .available()
        .map(|n| n.to_string())
        .collect()
}

/// What to write for an amount of a resource.
pub fn amount_form(resource: &Resource) -> String {
    match resource {
        Resource::Memory => {
            "an amount of memory such as `16GiB`, `512MiB` or a number of bytes".to_owned()
        }
        Resource::Custom(name) => format!("an amount of `{name}` such as `2` or `0.5`"),
        Resource::Cpu => "a number of CPUs such as `2`, `0.5` or `500m`".to_owned(),
        other => format!("a number of {}s such as `2` or `0.5`", other.label()),
    }
}

/// An amount of a resource.
pub fn amount(resource: &Resource, text: &str) -> Result<Amount, Wrong> {
    let got = quoted(text);
    Amount::parse(resource.unit(), text).or_else(|error| match error {
        AmountError::Unparsable { .. } => {
            let form = amount_form(resource);
            Err(Wrong {
                message: format!("wanted {form}, got {got}"),
                help: amount_help(resource.unit(), text),
            })
        }
        AmountError::Negative(_) => wrong(
            format!(
                "wanted {}, got {got}, which is negative",
                amount_form(resource)
            ),
            "`0` means none at all; leave the resource out for no limit",
        ),
        AmountError::TooFine { finest, .. } => wrong(
            format!("{got} is finer than {finest}"),
            "write a multiple of it",
        ),
        // Only jobs are asked for a unit; a file is warned.
        AmountError::NoUnit(_) | AmountError::TooLarge(_) => wrong(
            format!("{got} is larger than any amount that can be declared"),
            match resource.unit() {
                Unit::Bytes => "the largest is 8192 TiB",
                Unit::Milli => "the largest is 9007199254740.992",
            },
        ),
    })
}

/// What to write in place of a text that is no amount.
fn amount_help(unit: Unit, text: &str) -> String {
    let text = text.trim();
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    match text.split_once(['e', 'E']) {
        Some((a, b)) if digits(a) && digits(b.trim_start_matches(['+', '-'])) => {
            "write it without an exponent".to_owned()
        }
        // `4 cores`, `2 GPUs`
        _ if unit == Unit::Milli && number.len() < text.len() && digits(number) => {
            format!("write the number alone: `{number}`")
        }
        _ => String::new(),
    }
}

/// The most submissions a rate may name.
pub const MAX_RATE: u32 = 1_000_000;
/// The longest span of a rate.
pub const MAX_RATE_SPAN: Millis = Millis(31 * Millis::DAY.0);

/// `30/min`, `30/10s`.
pub fn rate(text: &str) -> Result<Rate, Wrong> {
    let form = || {
        wrong(
            format!(
                "wanted a rate such as `30/min`, `5/s`, `500/d` or `30/10s`, got {}",
                quoted(text)
            ),
            &rate_help(text),
        )
    };
    let Some((count, per)) = text.split_once('/') else {
        return form();
    };
    let (count, per) = (count.trim(), per.trim());
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return form();
    }
    let unit = per.starts_with(|c: char| c.is_ascii_alphabetic());
    let per = if unit {
        format!("1{per}")
    } else {
        per.to_owned()
    };
    let Ok(per) = Millis::parse(&per) else {
        return form();
    };
    let count = match count.parse::<u32>() {
        Ok(0) => {
            return wrong(
                "a rate of 0 would let nobody submit anything".into(),
                "write at least 1; `limits: {jobs: 0}` says that nothing may run",
            );
        }
        Ok(n) if n <= MAX_RATE => n,
        _ => {
            return wrong(
                format!("{} is more than {MAX_RATE} submissions", quoted(count)),
                "",
            );
        }
    };
    if per < Millis::SECOND || per > MAX_RATE_SPAN {
        return wrong(
            format!("a rate is per 1s to {MAX_RATE_SPAN}, got {}", quoted(text)),
            "",
        );
    }
    Ok(Rate { count, per })
}

/// `10 per minute` and `10/minute` are `10/min`.
fn rate_help(text: &str) -> String {
    let text = text.trim();
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, per) = text.split_at(end);
    let unit = per.split([' ', '/']).rfind(|w| !w.is_empty());
    let short = ["s", "min", "h", "d"]
        .into_iter()
        .zip(["second", "minute", "hour", "day"])
        .find(|(short, long)| {
            unit.is_some_and(|u| u == *short || u.trim_end_matches('s') == *long)
        });
    match short {
        Some((short, _)) if !count.is_empty() => format!("write `{count}/{short}`"),
        _ => String::new(),
    }
}

/// The shortest and the longest rolling period of a budget.
pub const ROLLING: (Millis, Millis) = (Millis::HOUR, Millis(366 * Millis::DAY.0));

/// `day`, `week`, `month`, `rolling 30d`.
pub fn period(text: &str) -> Result<Period, Wrong> {
    match text {
        "day" => return Ok(Period::Day),
        "week" => return Ok(Period::Week),
        "month" => return Ok(Period::Month),
        _ => {}
    }
    let Some(rolling) = text.strip_prefix("rolling ") else {
        return wrong(
            format!(
                "wanted day, week, month or `rolling 30d`, got {}",
                quoted(text)
            ),
            "",
        );
    };
    span(rolling.trim(), ROLLING.0, ROLLING.1).map(Period::Rolling)
}

/// A key of a budget: `gpu_hours`, `memory_gib_hours`, `gpu:H100_hours`.
pub fn budget_resource(key: &str) -> Option<Result<Resource, Wrong>> {
    let name = key.strip_suffix("_hours")?;
    Some(match name {
        "memory_gib" => Ok(Resource::Memory),
        "memory" => wrong(
            "a budget of memory is in GiB-hours".into(),
            "did you mean `memory_gib_hours`?",
        ),
        _ => Resource::parse(name).or_else(|_| {
            wrong(
                format!("{} is not a resource", quoted(name)),
                "write cpu_hours, memory_gib_hours, gpu_hours, gpu:MODEL_hours or NAME_hours",
            )
        }),
    })
}

/// How much of a budget one thousandth of an hour is, in the resource's smallest unit times milliseconds.
pub fn budget_step(resource: &Resource) -> u128 {
    // An hour has 3,600,000 ms; 1 GPU is 1000 of the smallest unit and 1 GiB is 2^30.
    let unit: u128 = match resource.unit() {
        Unit::Milli => 1000,
        Unit::Bytes => 1 << 30,
    };
    unit * u128::from(Millis::HOUR.0) / 1000
}

/// A number of resource-hours, exact to a thousandth.
pub fn hours(resource: &Resource, text: &str) -> Result<u128, Wrong> {
    let what = match resource {
        Resource::Memory => "GiB-hours".to_owned(),
        other => format!("{}-hours", other.label()),
    };
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match Amount::parse_count(text) {
        Ok(milli) if plain => Ok(u128::from(milli.0) * budget_step(resource)),
        Err(AmountError::TooFine { .. }) => wrong(
            format!(
                "{} {what} is finer than a thousandth of an hour",
                quoted(text)
            ),
            "",
        ),
        Err(AmountError::TooLarge(_)) => wrong(
            format!("{} {what} is larger than any budget", quoted(text)),
            "",
        ),
        _ => wrong(
            format!(
                "wanted a number of {what} such as `500` or `0.5`, got {}",
                quoted(text)
            ),
            "",
        ),
    }
}

/// The days, Monday first.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `sun`, `mon-fri`, `sat-mon`: sets the days that it names.
pub fn days(text: &str, set: &mut [bool; 7]) -> Result<(), Wrong> {
    let day = |t: &str| DAYS.iter().position(|d| *d == t);
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (Some(from), Some(to)) = (day(from), day(to)) else {
        return wrong(
            format!(
                "wanted a day or days such as `sat` or `mon-fri`, got {}",
                quoted(text)
            ),
            "the days are mon, tue, wed, thu, fri, sat, sun",
        );
    };
    let count = (to + 7 - from) % 7;
    for i in 0..=count {
        set[(from + i) % 7] = true;
    }
    Ok(())
}

/// `08:00-20:00`, `22:00-06:00`, `00:00-24:00`: the minutes of the day at which it begins and ends.
pub fn clock_hours(text: &str) -> Result<(u16, u16), Wrong> {
    let times = text
        .split_once('-')
        .and_then(|(from, to)| Some((clock(from)?, clock(to)?)));
    match times {
        Some((from, to)) if from == to => wrong(
            format!("the window {} is empty", quoted(text)),
            "write `00:00-24:00` for the whole day",
        ),
        Some((1440, _)) | None => wrong(
            format!(
                "wanted hours such as `08:00-20:00` or `22:00-06:00`, got {}",
                quoted(text)
            ),
            "",
        ),
        // Midnight at the end is the end of the day.
        Some((from, 0)) => Ok((from, 1440)),
        Some(times) => Ok(times),
    }
}

fn clock(text: &str) -> Option<u16> {
    let (h, m) = text.split_once(':')?;
    let two = |s: &str| {
        (s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse::<u16>().ok())
    };
    let (h, m) = (two(h)??, two(m)??);
    let minute = h * 60 + m;
    (m < 60 && minute <= 1440).then_some(minute)
}

/// A moment in RFC 3339, or a date, which is midnight at its start in `zone`. From 1970 to 9998.
pub fn moment(text: &str, zone: &TimeZone) -> Result<Timestamp, Wrong> {
    let form = || {
        wrong(
            format!(
                "wanted a date such as `2027-06-30` or a moment such as `2027-06-30T18:00:00Z`, got {}",
                quoted(text)
            ),
            "",
        )
    };
    let shape = text.as_bytes();
    let dated =
        shape.len() >= 10 && shape[4] == b'-' && shape[7] == b'-' && shape[0].is_ascii_digit();
    if !dated {
        return form();
    }
    let at = if shape.len() == 10 {
        text.parse::<jiff::civil::Date>()
            .and_then(|d| d.to_zoned(zone.clone()))
            .map(|z| z.timestamp())
    } else {
        if !matches!(shape[10], b'T' | b't' | b' ') {
            return form();
        }
        text.parse::<jiff::Timestamp>()
    };
    let Ok(at) = at else {
        let help = if shape.len() > 10 && text.parse::<jiff::civil::DateTime>().is_ok() {
            "say in which zone: put `Z` or an offset such as `+02:00` at its end"
        } else {
            ""
        };
        return form().map_err(|w: Wrong| Wrong {
            help: help.to_owned(),
            ..w
        });
    };
    let ms = at.as_millisecond();
    if !(0..=LAST_MOMENT).contains(&ms) {
        return wrong(
            format!("{} is not in the years 1970 to 9998", quoted(text)),
            "",
        );
    }
    Ok(Timestamp(ms))
}

/// The end of the year 9998, before which every zone can say every moment.
const LAST_MOMENT: i64 = 253_370_764_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_people_write_them() {
        for (text, count, per) in [
            ("30/min", 30, 60_000),
            ("5/s", 5, 1000),
            ("5/sec", 5, 1000),
            ("100/h", 100, 3_600_000),
            ("500/d", 500, 86_400_000),
            ("30/10s", 30, 10_000),
            ("30 / 1h30m", 30, 5_400_000),
        ] {
            assert_eq!(
                rate(text),
                Ok(Rate {
                    count,
                    per: Millis(per)
                }),
                "{text}"
            );
        }
        for bad in [
            "",
            "30",
            "/min",
            "30/",
            "0/min",
            "-1/min",
            "1.5/min",
            "30/0s",
            "30/32d",
            "30/10",
            "9999999/s",
            "30/min/s",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn days_wrap_around_the_week() {
        let mut set = [false; 7];
        days("sat-mon", &mut set).expect("a range");
        days("wed", &mut set).expect("a day");
        assert_eq!(set, [true, false, true, false, false, true, true]);
        for bad in ["monday", "mon-", "-", "", "Mon", "mon-fri-sun"] {
            assert!(days(bad, &mut set).is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_may_wrap_midnight_and_may_not_be_empty() {
        assert_eq!(clock_hours("08:00-20:00"), Ok((480, 1200)));
        assert_eq!(clock_hours("22:00-06:00"), Ok((1320, 360)));
        assert_eq!(clock_hours("20:00-00:00"), Ok((1200, 1440)));
        assert_eq!(clock_hours("00:00-24:00"), Ok((0, 1440)));
        for bad in [
            "08:00-08:00",
            "24:00-08:00",
            "8:00-20:00",
            "08:60-09:00",
            "25:00-26:00",
            "08:00",
            "",
            "-",
            "00:00-00:00",
        ] {
            assert!(clock_hours(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_date_is_midnight_at_its_start_in_the_zone() {
        let berlin = zone("europe/BERLIN").expect("a zone in any case of letters");
        assert_eq!(
            moment("2027-06-30", &berlin).map(|t| t.to_string()),
            Ok("2027-06-29T22:00:00Z".into())
        );
        assert_eq!(
            moment("2027-06-30T08:00:00+02:00", &TimeZone::UTC).map(|t| t.to_string()),
            Ok("2027-06-30T06:00:00Z".into())
        );
        for bad in [
            "",
            "2027",
            "2027-6-30",
            "2027-02-30",
            "2027-06-30T08:00:00",
            "1969-12-31",
            "9999-12-31",
            "tomorrow",
            "20270630T000000Z",
        ] {
            assert!(moment(bad, &TimeZone::UTC).is_err(), "{bad}");
        }
    }

    #[test]
    fn budgets_are_exact_in_the_smallest_unit_times_milliseconds() {
        assert_eq!(hours(&Resource::Gpu, "1"), Ok(1000 * 3_600_000));
        assert_eq!(hours(&Resource::Gpu, "0.001"), Ok(3_600_000));
        assert_eq!(hours(&Resource::Memory, "2"), Ok(2 * (1 << 30) * 3_600_000));
        assert_eq!(hours(&Resource::Cpu, "0"), Ok(0));
        for bad in ["", "-1", "500m", "0.0001", "lots", "1e3", " 1"] {
            assert!(hours(&Resource::Gpu, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zone_that_has_no_rules_is_no_zone() {
        assert!(zone("Etc/Unknown").is_none());
        assert!(zone("Mars/Olympus").is_none());
        assert!(zone("UTC").is_some());
    }
}
