//! Amounts as other tools write them.

/// Docker's sizes: `512m`, `1.5g`, `2GiB`, `1024`; all suffixes are binary.
pub(super) fn docker_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(lower.len());
    let (number, suffix) = lower.split_at(end);
    let shift = match suffix {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    whole(decimal(number.trim())?, 1 << shift)
}

/// systemd's sizes: `4G`, `512M`, `1.5G`, `1G 512M`; all suffixes are binary.
pub(super) fn systemd_bytes(text: &str) -> Option<u64> {
    let mut sum = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let behind = behind.trim_start();
        let letter = behind.chars().next().unwrap_or('B');
        let shift = "BKMGTPE"
            .find(letter)
            .and_then(|at| u32::try_from(at).ok())?;
        let factor = 1_u128.checked_shl(10 * shift)?;
        sum = sum.checked_add(whole(decimal(number)?, factor)?)?;
        rest = behind.strip_prefix(letter).unwrap_or("").trim_start();
    }
    Some(sum)
}

/// Kubernetes' quantities in thousandths: `500m`, `2`, `4Gi`, `1.5`, `1e3`.
pub(super) fn kubernetes_milli(text: &str) -> Option<u128> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (digits, places) = decimal(number)?;
    let exponent = |text: &str| text.parse::<i32>().ok().filter(|e| e.abs() <= 30);
    let (binary, tens) = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, exponent(suffix.strip_prefix(['e', 'E'])?)?),
    };
    let scale = tens + 3 - i32::try_from(places).ok()?;
    let value = digits.checked_mul(1_u128.checked_shl(binary)?)?;
    let power = 10_u128.checked_pow(scale.unsigned_abs())?;
    match scale >= 0 {
        true => value.checked_mul(power),
        // Kubernetes rounds up.
        false => Some(value.div_ceil(power)),
    }
}

/// CPUs as a plain number, in thousandths.
pub(super) fn plain_milli(text: &str) -> Option<u64> {
    whole(decimal(text.trim())?, 1000)
}

/// `12.5` as 125 and 1.
fn decimal(text: &str) -> Option<(u128, u32)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || digits.len() > 24 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, u32::try_from(part.len()).ok()?))
}

fn whole((digits, places): (u128, u32), factor: u128) -> Option<u64> {
    let power = 10_u128.checked_pow(places)?;
    u64::try_from(digits.checked_mul(factor)? / power).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_has_sizes_of_its_own() {
        for (text, bytes) in [
            ("512m", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2GiB", Some(2 << 30)),
            ("1024", Some(1024)),
            ("64 mb", Some(64 << 20)),
            ("4x", None),
            ("-1", None),
            ("", None),
            ("m", None),
        ] {
            assert_eq!(docker_bytes(text), bytes, "{text}");
        }
        for (text, bytes) in [
            ("4G", Some(4 << 30)),
            ("1.5G", Some(3 << 29)),
            ("1G 512M", Some(3 << 29)),
            ("1024", Some(1024)),
            ("4GB", None),
            ("4g", None),
            ("4GiB", None),
            ("", None),
            ("20000000000E", None),
        ] {
            assert_eq!(systemd_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_quantity_of_kubernetes_is_exact() {
        for (text, milli) in [
            ("512m", Some(512)),
            ("2", Some(2000)),
            ("1.5", Some(1500)),
            ("4Gi", Some((4 << 30) * 1000)),
            ("1G", Some(1_000_000_000_000)),
            ("1e3", Some(1_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("0.1", Some(100)),
            ("1u", Some(1)),
            ("4gb", None),
            ("4GiB", None),
            ("e3", None),
            ("", None),
            ("-1", None),
            ("1e99", None),
        ] {
            assert_eq!(kubernetes_milli(text), milli, "{text}");
        }
    }
}
