//! Values that headers are spoilt with.

use bolero::TypeGenerator;

/// A number that a hostile header may hold: small, beside a power of two, or any.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(super) enum Number {
    Small(u8),
    NearPower(u8, i8),
    Any(u64),
}

impl Number {
    pub(super) fn value(self) -> u64 {
        match self {
            Self::Small(value) => u64::from(value),
            Self::NearPower(power, by) => {
                // Power 64 stands for the number after the last.
                let power = 1u64.checked_shl(u32::from(power) % 65).unwrap_or(0);
                power.wrapping_add_signed(i64::from(by % 3))
            }
            Self::Any(value) => value,
        }
    }
}

/// Picks one of `count` things; none of none.
pub(super) fn pick(index: u16, count: usize) -> Option<usize> {
    (count > 0).then(|| usize::from(index) % count)
}

#[test]
fn numbers_reach_both_ends() {
    assert_eq!(Number::NearPower(64, -1).value(), u64::MAX);
    assert_eq!(Number::NearPower(63, 0).value(), 1 << 63);
    assert_eq!(Number::NearPower(0, -1).value(), 0);
}
