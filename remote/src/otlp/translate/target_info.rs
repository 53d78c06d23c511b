//! `target_info`: what else is known about a resource, to be joined in queries.

use super::super::labels::Fixed;
use super::super::samples::TooMuch;
use super::super::wire::Attribute;
use super::{
    ResourceLabels, Result, SERVICE_INSTANCE, SERVICE_NAME, SERVICE_NAMESPACE, Times, TranslateError,
    Translator,
};

const TARGET_INFO: &str = "target_info";

impl<'b> Translator<'_, 'b> {
    /// Adds samples from the first to the last point's time, near enough to each other that queries in between see one.
    pub(super) fn target_info(
        &mut self,
        attributes: &[Attribute<'b>],
        resource: &ResourceLabels<'b>,
        times: &Times,
    ) -> Result<()> {
        let identifying = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE];
        let present = |name: &&&[u8]| attributes.iter().any(|attribute| attribute.key == **name);
        if attributes.len() == identifying.iter().filter(present).count() {
            // `job` and `instance` are on all series already.
            return Ok(());
        }
        let keep = self.settings.keep_identifying;
        let over = self.labeller.fixed(resource.job_and_instance.iter().cloned());
        let ignore = |name: &[u8]| !keep && identifying.contains(&name);
        self.labeller.base(attributes, ignore, &Fixed::default(), &over)?;
        if !self.labeller.has("job") && !self.labeller.has("instance") {
            return Ok(());
        }
        let labels = self.labeller.packed(TARGET_INFO, None)?.finish();
        let millis = |ns: i64| ns.div_euclid(1_000_000);
        let (first_ns, last_ns) = (times.first_ns as i64, times.last_ns as i64);
        let mut at_ns = first_ns;
        while at_ns < last_ns {
            self.samples.target_info(&labels, millis(at_ns))?;
            at_ns = at_ns
                .checked_add(self.settings.target_info_ns)
                .ok_or(TranslateError::TooMuch(TooMuch::TargetInfo))?;
        }
        Ok(self.samples.target_info(&labels, millis(last_ns))?)
    }
}
