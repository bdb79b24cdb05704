//! SplitMix64: what follows from a seed must be the same on every machine.

/// Numbers that follow from a seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// One of these; `or` if there are none.
    pub fn one_of(&mut self, values: &[f64], or: f64) -> f64 {
        let count = values.len() as u64;
        if count == 0 { or } else { values[(self.next_u64() % count) as usize] }
    }

    /// Puts them into another order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, (self.next_u64() % (last as u64 + 1)) as usize);
        }
    }
}
