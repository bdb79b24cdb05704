//! Picture strings of XPath: numbers, integers, dates and times.

pub(crate) mod datetime;
pub(crate) mod integer;
pub(crate) mod number;

/// The distance of separators that repeat regularly: their positions are all the multiples of it. None if they do not.
fn regular_distance(positions: &[usize]) -> Option<usize> {
    fn gcd(a: usize, b: usize) -> usize {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    let factor = positions.iter().copied().reduce(gcd).filter(|factor| *factor > 0)?;
    (1..=positions.len()).all(|index| positions.contains(&(index * factor))).then_some(factor)
}
