//! Operations between two vectors at one moment.

use crate::ast::{BinaryOp, Cardinality};
use crate::exec::Execution;
use crate::exec::operation;
use crate::plan::{Join, MatchLabels};

use super::Halt;
use super::column::Whose;
use super::vector::{Vector, full_row, keep_present};

/// Marks a signature that no element has.
const NO_ELEMENT: u32 = u32::MAX;

/// Whether a join has a form here.
pub(super) fn is_plain(join: &Join) -> bool {
    join.fill_left.is_none() && join.fill_right.is_none() && !operation::is_trim(join.op)
}

impl Execution<'_> {
    /// Arithmetic or comparison of two vectors, for which [`is_plain`] holds. Elements that may not match as they do are
    /// left to the general way, which says what is wrong with them.
    pub(super) fn join_vectors(&self, join: &Join, lhs: &Vector, rhs: &Vector) -> Result<Vector, Halt> {
        let limits = &self.shared.limits;
        let joined = lhs.whose.joined(&rhs.whose, join, limits)?;
        let swapped = join.cardinality == Cardinality::OneToMany;
        let one_to_one = join.cardinality == Cardinality::OneToOne;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let (many_numbers, one_numbers) = joined.matched.sides(swapped);

        let mut partner_of = vec![NO_ELEMENT; joined.matched.count];
        for (element, place) in one.places.iter().enumerate() {
            let slot = &mut partner_of[one_numbers[*place as usize] as usize];
            if *slot != NO_ELEMENT && many.len() > 0 {
                return Err(Halt::Contradiction);
            }
            *slot = element as u32;
        }
        let mut matched = vec![false; if one_to_one { joined.matched.count } else { 0 }];
        let mut given = vec![false; joined.column.len()];
        let (mut places, mut many_values, mut one_values) = (Vec::new(), Vec::new(), Vec::new());
        for (element, place) in many.places.iter().enumerate() {
            limits.check_now_and_then(element)?;
            let number = many_numbers[*place as usize] as usize;
            let partner = partner_of[number];
            if partner == NO_ELEMENT {
                continue;
            }
            let partner = partner as usize;
            let result = joined.result(*place, one.places[partner]);
            let again = one_to_one && std::mem::replace(&mut matched[number], true);
            if again || std::mem::replace(&mut given[result as usize], true) {
                return Err(Halt::Contradiction);
            }
            places.push(result);
            many_values.push(many.values[element]);
            one_values.push(one.values[partner]);
        }
        let (left, right) = match swapped {
            false => (many_values, one_values),
            true => (one_values, many_values),
        };
        let mut row = full_row(vec![0.0; places.len()]);
        operation::with_row(join.op, &left, &right, join.return_bool, &mut row);
        keep_present(&mut places, &row.present);
        keep_present(&mut row.values, &row.present);
        let vector = Vector::of(
            Whose::of_column(joined.column.clone()),
            places,
            row.values,
            limits,
        )?;
        limits.touch_samples(lhs.len() + rhs.len())?;
        Ok(vector)
    }

    /// `and` and `unless`.
    pub(super) fn filter(
        &self,
        op: BinaryOp,
        on: &MatchLabels,
        lhs: Vector,
        rhs: &Vector,
    ) -> Result<Vector, Halt> {
        let limits = &self.shared.limits;
        let matched = lhs.whose.matched(&rhs.whose, on, limits)?;
        let mut present = vec![false; matched.count];
        for place in rhs.places.iter() {
            present[matched.right[*place as usize] as usize] = true;
        }
        let wanted = op == BinaryOp::And;
        let (mut places, mut values) = (Vec::new(), Vec::new());
        for (place, value) in lhs.places.iter().zip(lhs.values.iter()) {
            if present[matched.left[*place as usize] as usize] == wanted {
                places.push(*place);
                values.push(*value);
            }
        }
        let vector = Vector::of(lhs.whose.clone(), places, values, limits)?;
        limits.touch_samples(lhs.len() + rhs.len())?;
        Ok(vector)
    }
}
