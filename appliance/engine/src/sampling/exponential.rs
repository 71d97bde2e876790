//! e^x in plain single-precision operations, so that every machine gives the same bits and loops over it are wide.

/// e^`x` for `x` at most 0; exactly 0 below `floor`, which is at least −80, and for what is not a number. Off by at most
/// two units in the last place.
///
/// e^x = 2^n · e^r with whole n and |r| ≤ ln 2 / 2; the polynomial for e^r is that of Cephes (Moshier, `expf`).
#[inline]
pub(super) fn exponential(x: f32, floor: f32) -> f32 {
    // Adding it leaves the whole part in the lowest bits of the sum: 1.5 · 2^23.
    const TO_WHOLE: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let inside = if x >= floor { x } else { floor };
    let shifted = inside * std::f32::consts::LOG2_E + TO_WHOLE;
    let whole = shifted - TO_WHOLE;
    let r = (inside - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let polynomial = ((((1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 1.666_666_5e-1)
        * r
        + 0.5;
    let power = polynomial * (r * r) + r + 1.0;
    // n + 127 is from 11 to 127, so these are the bits of 2^n.
    let two_to_n = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    if x >= floor { power * two_to_n } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential_to_two_units_in_the_last_place() {
        for step in 0..400_000 {
            let x = -(step as f32) * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exponential(x, -40.0)) - exact).abs() / exact;
            assert!(error <= 2.0 * f64::from(f32::EPSILON), "{x}: {error:e}");
        }
    }

    #[test]
    fn it_is_one_at_zero_and_nothing_below_the_floor() {
        assert_eq!(exponential(0.0, -40.0), 1.0);
        assert_eq!(exponential(-0.0, -40.0), 1.0);
        assert!(exponential(-40.0, -40.0) > 0.0);
        for x in [-40.001, -1e30, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exponential(x, -40.0), 0.0);
        }
    }

    #[test]
    fn it_never_falls_while_its_argument_rises() {
        let mut last = 0.0;
        for step in (0..400_000).rev() {
            let weight = exponential(-(step as f32) * 1e-4, -40.0);
            assert!(weight >= last, "{step}");
            last = weight;
        }
    }
}
