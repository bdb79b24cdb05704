//! Numbers and names as the page shows them.

/// A whole number with thin thousands: `659,817`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Four significant digits, without an exponent where that can be read.
pub(crate) fn number(value: f64) -> String {
    significant(value, 4)
}

/// A value as far as its standard error lets it be known: to the error's second digit, and `decimals_max`.
pub(crate) fn known(value: f64, error: Option<f64>, decimals_max: i32) -> String {
    match error.filter(|error| *error > 0.0 && error.is_finite() && value.is_finite()) {
        Some(error) => {
            let decimals = (1 - error.log10().floor() as i32).clamp(0, decimals_max) as usize;
            format!("{value:.decimals$}").replace('-', "−")
        }
        None => number(value),
    }
}

/// A standard error: two significant digits.
pub(crate) fn error(value: f64) -> String {
    significant(value, 2)
}

fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let text = match magnitude {
        7.. | ..-6 => format!("{value:.*e}", (digits - 1) as usize),
        3.. => {
            let whole = count(value.abs().round() as u64);
            if value < 0.0 { format!("-{whole}") } else { whole }
        }
        _ => {
            let text = format!("{value:.*}", (digits - 1 - magnitude).max(0) as usize);
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
    };
    // A minus sign, not a hyphen.
    text.replace('-', "−")
}

/// `1.25 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", significant(share * 100.0, 3))
}

/// `0.8 s`, `42 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..10 => format!("{} s", significant(seconds, 3)),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `13.54 GB`; MB = 10⁶ bytes.
pub(crate) fn bytes(bytes: f64) -> String {
    for (size, unit) in [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")] {
        if bytes >= size {
            return format!("{} {unit}", number(bytes / size));
        }
    }
    format!("{bytes:.0} B")
}

/// Text as HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1_000, 659_817].map(count), ["0", "999", "1,000", "659,817"]);
        assert_eq!(
            [0.0, 0.97467, 12.5, 283.44, 5113.4, -0.00202449, 1.2e-7, 2.5e8].map(number),
            ["0", "0.9747", "12.5", "283.4", "5,113", "−0.002024", "1.200e−7", "2.500e8"]
        );
        assert_eq!([0.0316, 1.0, f64::NAN].map(error), ["0.032", "1", "–"]);
        assert_eq!(known(-0.0000073941, Some(0.000163), 9), "−0.00001");
        assert_eq!(known(0.97467, Some(0.0031), 9), "0.9747");
        assert_eq!(known(0.9939942, Some(0.0000114), 5), "0.99399");
        assert_eq!([known(12.0, None, 9), known(0.5, Some(0.0), 9)], ["12", "0.5"]);
        assert_eq!(percent(0.0125), "1.25 %");
        assert_eq!(
            [0.04, 9.44, 42.2, 200.0, 7500.0].map(seconds),
            ["0.04 s", "9.44 s", "42 s", "3 min 20 s", "2 h 05 min"]
        );
        assert_eq!([13.54e9, 26.2e6, 512.0].map(bytes), ["13.54 GB", "26.2 MB", "512 B"]);
    }
}
