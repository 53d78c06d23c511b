//! Four chunks in one register, or eight in two: [`Lane::step`](super::lanes::Lane::step) for processors that have AVX2 or
//! AVX-512VL.
//!
//! The steps below are that function's, number by number, in the 64-bit elements of vectors; samples that are not usual
//! in some lane are left to it. Written with intrinsics because the compiler does not find them in a loop over lanes.
//!
//! Unsafe: only the calls of code that was compiled for these from code that was not, in [`steps`]. They are sound because
//! the processor was asked before. All loads and stores are checked slices; there is no pointer in this file.

use std::ops::Range;

use super::lanes::{Bytes, Lane, Odd, Turn};

/// Whether the processor can take `lanes` at a time.
#[inline]
pub(super) fn can(lanes: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    match lanes {
        4 => return std::arch::is_x86_feature_detected!("avx2"),
        8 => return std::arch::is_x86_feature_detected!("avx512vl"),
        _ => {}
    }
    let _ = lanes;
    false
}

/// Decodes the samples `rows` of four or eight chunks.
///
/// # Errors
/// Also when [`can`] says no, or they are not so many.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "see the top of the file")
)]
pub(super) fn steps<const JOINT: bool>(
    bytes: &Bytes,
    turns: &mut [Turn<'_>],
    rows: Range<usize>,
) -> Result<(), Odd> {
    #[cfg(target_arch = "x86_64")]
    match turns.len() {
        // SAFETY: the processor has AVX2, all that the function demands.
        4 if can(4) => return unsafe { x86::steps_of_4::<JOINT>(bytes, turns, rows) },
        // SAFETY: the processor has AVX-512VL, and with it all that the function demands.
        8 if can(8) => return unsafe { x86::steps_of_8::<JOINT>(bytes, turns, rows) },
        _ => {}
    }
    let _ = (bytes, turns, rows);
    Err(Odd)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;
    use crate::chunk::lanes::{INDEX_MASK, WIDTH_OF_LOAD};

    /// The numbers of four lanes, each in its 64-bit element.
    #[derive(Clone, Copy)]
    struct Four {
        timestamps_ms: __m256i,
        deltas: __m256i,
        values: __m256i,
        pos: __m256i,
        windows: __m256i,
        /// See [`Lane::deltas`].
        all_deltas: __m256i,
    }

    /// See [`super::steps`].
    #[target_feature(enable = "avx2")]
    pub(super) fn steps_of_4<const JOINT: bool>(
        bytes: &Bytes,
        turns: &mut [Turn<'_>],
        rows: Range<usize>,
    ) -> Result<(), Odd> {
        let turns: &mut [Turn<'_>; 4] = turns.try_into().map_err(|_| Odd)?;
        let mut four = Four::begin(turns);
        let mut outs = turns.each_mut().map(|turn| turn.out.rows(rows.clone()));
        let mut row = 0;
        while row < rows.len() {
            // The loop is left for unusual samples, lest it keep its numbers where the call would leave them alone.
            while row < rows.len() && four.step::<JOINT>(bytes) {
                four.store(&mut outs, row);
                row += 1;
            }
            if row < rows.len() {
                four = step_each::<JOINT>(four, bytes, &mut outs, row)?;
                row += 1;
            }
        }
        four.end(turns);
        Ok(())
    }

    /// See [`super::steps`]: two vectors in turns, for which only AVX-512VL has enough registers.
    #[target_feature(enable = "avx2,avx512f,avx512vl")]
    pub(super) fn steps_of_8<const JOINT: bool>(
        bytes: &Bytes,
        turns: &mut [Turn<'_>],
        rows: Range<usize>,
    ) -> Result<(), Odd> {
        let ([first, second], []) = turns.as_chunks_mut::<4>() else {
            return Err(Odd);
        };
        let (mut four, mut more) = (Four::begin(first), Four::begin(second));
        let mut outs = first.each_mut().map(|turn| turn.out.rows(rows.clone()));
        let mut more_outs = second.each_mut().map(|turn| turn.out.rows(rows.clone()));
        let mut row = 0;
        while row < rows.len() {
            let mut first_done = false;
            while row < rows.len() {
                first_done = four.step::<JOINT>(bytes);
                if !first_done {
                    break;
                }
                four.store(&mut outs, row);
                if !more.step::<JOINT>(bytes) {
                    break;
                }
                more.store(&mut more_outs, row);
                row += 1;
            }
            if row < rows.len() {
                if !first_done {
                    four = step_each::<JOINT>(four, bytes, &mut outs, row)?;
                }
                more = step_each::<JOINT>(more, bytes, &mut more_outs, row)?;
                row += 1;
            }
        }
        four.end(first);
        more.end(second);
        Ok(())
    }

    type Outs<'a> = [(&'a mut [i64], &'a mut [f64]); 4];

    /// Decodes a sample of each lane, lane by lane, and stores them as row `row`.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn step_each<const JOINT: bool>(
        four: Four,
        bytes: &Bytes,
        outs: &mut Outs<'_>,
        row: usize,
    ) -> Result<Four, Odd> {
        let mut lanes = four.lanes();
        for (lane, (timestamps_ms, values)) in lanes.iter_mut().zip(outs) {
            lane.step::<JOINT>(bytes)?;
            (timestamps_ms[row], values[row]) = (lane.timestamp_ms, f64::from_bits(lane.sample_bits));
        }
        Ok(Four::of(&lanes))
    }

    impl Four {
        #[target_feature(enable = "avx2")]
        fn begin(turns: &[Turn<'_>; 4]) -> Self {
            Four::of(&turns.each_ref().map(|turn| turn.lane))
        }

        #[target_feature(enable = "avx2")]
        fn end(self, turns: &mut [Turn<'_>; 4]) {
            for (turn, lane) in turns.iter_mut().zip(self.lanes()) {
                turn.lane = lane;
            }
        }

        /// Stores the samples as row `row`.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn store(&self, outs: &mut Outs<'_>, row: usize) {
            let (t, v) = (elements(self.timestamps_ms), elements(self.values));
            for (i, (timestamps_ms, values)) in outs.iter_mut().enumerate() {
                (timestamps_ms[row], values[row]) = (t[i], f64::from_bits(v[i] as u64));
            }
        }

        #[target_feature(enable = "avx2")]
        fn of(lanes: &[Lane; 4]) -> Self {
            Four {
                timestamps_ms: vector(lanes.map(|lane| lane.timestamp_ms)),
                deltas: vector(lanes.map(|lane| lane.delta as i64)),
                values: vector(lanes.map(|lane| lane.value_bits as i64)),
                pos: vector(lanes.map(|lane| lane.pos as i64)),
                windows: vector(lanes.map(|lane| lane.window as i64)),
                all_deltas: vector(lanes.map(|lane| lane.deltas as i64)),
            }
        }

        #[target_feature(enable = "avx2")]
        fn lanes(self) -> [Lane; 4] {
            let (timestamps_ms, deltas) = (elements(self.timestamps_ms), elements(self.deltas));
            let (values, pos) = (elements(self.values), elements(self.pos));
            let (windows, all_deltas) = (elements(self.windows), elements(self.all_deltas));
            std::array::from_fn(|i| Lane {
                timestamp_ms: timestamps_ms[i],
                delta: deltas[i] as u64,
                value_bits: values[i] as u64,
                sample_bits: values[i] as u64,
                pos: pos[i] as u64,
                window: windows[i] as u64,
                deltas: all_deltas[i] as u64,
            })
        }

        /// Decodes a sample of each lane. False where one is not usual; nothing has changed then.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn step<const JOINT: bool>(&mut self, bytes: &Bytes) -> bool {
            let all = |number: i64| _mm256_set1_epi64x(number);
            let none = _mm256_setzero_si256();
            let time = peek(bytes, self.pos);
            let ones = _mm256_and_si256(time, _mm256_add_epi64(time, time));
            let changed = _mm256_cmpgt_epi64(none, if JOINT { ones } else { time });
            let used = _mm256_add_epi64(_mm256_and_si256(changed, all(15)), all(1));
            let code = _mm256_sllv_epi64(time, used);
            let double = _mm256_add_epi64(code, code);
            // The sign bits of `far`, `differs` and `fresh` are what counts.
            let (mut far, mut differs, mut header) = (ones, code, code);
            if JOINT {
                let stale =
                    _mm256_and_si256(_mm256_and_si256(code, double), _mm256_add_epi64(double, double));
                far = _mm256_and_si256(ones, _mm256_slli_epi64::<2>(time));
                far = _mm256_or_si256(far, _mm256_and_si256(stale, changed));
                differs = _mm256_and_si256(time, _mm256_or_si256(code, _mm256_xor_si256(changed, all(-1))));
                header = select(changed, double, code);
            }
            let fresh = _mm256_and_si256(differs, double);
            let window = _mm256_and_si256(_mm256_srli_epi64::<51>(header), all(0x7ff));
            let window = select(fresh, window, self.windows);
            // Leading zeros, and the width less one.
            let leading = _mm256_srli_epi64::<6>(window);
            let width = _mm256_and_si256(_mm256_sub_epi64(window, all(1)), all(63));
            // Negative where the window does not fit a value.
            let trailing = _mm256_sub_epi64(_mm256_sub_epi64(all(63), leading), width);
            if any_negative(_mm256_or_si256(far, _mm256_and_si256(trailing, differs))) {
                return false;
            }
            let pos = _mm256_add_epi64(self.pos, used);
            let longer = _mm256_and_si256(changed, all(1));
            let header = if JOINT {
                _mm256_add_epi64(all(11), longer)
            } else {
                all(11)
            };
            let header = _mm256_and_si256(_mm256_cmpgt_epi64(none, fresh), header);
            let at = _mm256_add_epi64(_mm256_add_epi64(pos, all(2)), header);
            let mut bits = peek(bytes, at);
            let wide = _mm256_cmpgt_epi64(width, all(WIDTH_OF_LOAD as i64 - 1));
            if any_negative(_mm256_and_si256(wide, differs)) {
                let rest = _mm256_srli_epi64::<56>(peek(bytes, _mm256_add_epi64(at, all(56))));
                bits = _mm256_or_si256(_mm256_andnot_si256(all(0xff), bits), rest);
            }
            let bits = _mm256_srlv_epi64(bits, _mm256_sub_epi64(all(63), width));
            let all_differs = _mm256_cmpgt_epi64(none, differs);
            let xor = _mm256_and_si256(_mm256_sllv_epi64(bits, trailing), all_differs);
            let change = _mm256_srli_epi64::<48>(time);
            let change = if JOINT {
                // 13 bits in two's complement.
                let moved = _mm256_and_si256(_mm256_add_epi64(change, all(0x1000)), all(0x1fff));
                _mm256_sub_epi64(moved, all(0x1000))
            } else {
                // 14 bits, of which numbers above 0x2000 stand for negative ones.
                let moved = _mm256_and_si256(_mm256_add_epi64(change, all(0x1fff)), all(0x3fff));
                _mm256_sub_epi64(moved, all(0x1fff))
            };
            self.deltas = _mm256_add_epi64(self.deltas, _mm256_and_si256(change, changed));
            self.all_deltas = _mm256_or_si256(self.all_deltas, _mm256_sub_epi64(self.deltas, all(1)));
            self.timestamps_ms = _mm256_add_epi64(self.timestamps_ms, self.deltas);
            self.values = _mm256_xor_si256(self.values, xor);
            let end = _mm256_add_epi64(_mm256_add_epi64(at, width), all(1));
            let same = _mm256_add_epi64(pos, if JOINT { longer } else { all(1) });
            self.pos = select(differs, end, same);
            self.windows = window;
            true
        }
    }

    /// The 57 bits or more from each bit `pos` on, the first one highest.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn peek(bytes: &Bytes, pos: __m256i) -> __m256i {
        let [a, b, c, d] = elements(_mm256_srli_epi64::<3>(pos));
        let words = _mm256_set_epi64x(word(bytes, d), word(bytes, c), word(bytes, b), word(bytes, a));
        let (high, low) = (0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607);
        let words = _mm256_shuffle_epi8(words, _mm256_set_epi64x(high, low, high, low));
        _mm256_sllv_epi64(words, _mm256_and_si256(pos, _mm256_set1_epi64x(7)))
    }

    /// Eight bytes from byte `at` on, the first one lowest.
    #[inline(always)]
    fn word(bytes: &Bytes, at: i64) -> i64 {
        let word = bytes[at as usize & INDEX_MASK..].first_chunk();
        word.map_or(0, |word| i64::from_le_bytes(*word))
    }

    /// Elements of `yes` where those of `sign` are negative, of `no` elsewhere.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn select(sign: __m256i, yes: __m256i, no: __m256i) -> __m256i {
        let (yes, no) = (_mm256_castsi256_pd(yes), _mm256_castsi256_pd(no));
        _mm256_castpd_si256(_mm256_blendv_pd(no, yes, _mm256_castsi256_pd(sign)))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn any_negative(elements: __m256i) -> bool {
        _mm256_movemask_pd(_mm256_castsi256_pd(elements)) != 0
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn vector(elements: [i64; 4]) -> __m256i {
        let [a, b, c, d] = elements;
        _mm256_set_epi64x(d, c, b, a)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn elements(vector: __m256i) -> [i64; 4] {
        let (low, high) = (
            _mm256_castsi256_si128(vector),
            _mm256_extracti128_si256::<1>(vector),
        );
        [
            _mm_cvtsi128_si64(low),
            _mm_extract_epi64::<1>(low),
            _mm_cvtsi128_si64(high),
            _mm_extract_epi64::<1>(high),
        ]
    }
}
