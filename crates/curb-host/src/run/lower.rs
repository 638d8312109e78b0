//! A limit on memory that a pause raised, lowered again.

use curb_core::host::ladder::{Reading, What};
use curb_core::host::limits::Resource;
use curb_core::time::Millis;

use super::act::pausing_step;
use super::once::Once;
use crate::limits::Bytes;

impl Once<'_> {
    /// Lowers it to what this run was started with, once its use has fallen well below that.
    pub(super) fn lower_again(&mut self, now: Millis, reading: &Reading) {
        let (Some(mut back), Some(from)) = (self.goes_back, self.limits.memory) else {
            return;
        };
        let used = reading.get(&Resource::Memory).map(|u| u.used);
        let busy = self.ladder.is_open(Resource::Memory) || self.pausing.is_some();
        let due = back.is_due(now, used, !busy && self.stop.is_none());
        self.goes_back = Some(back);
        if !due {
            return;
        }
        let to = back.to();
        // Whoever grows at this moment is paused, and not killed: that has to be so before the limit is lower.
        self.limits.memory = Some(to);
        self.pause_again();
        if let Err(_the_kernel_could_not_take_enough_back) =
            self.body.set_memory(to, self.limits.swap)
        {
            // Of the two limits that it may have (with swap) one may be lower by now.
            let _it_was_that_before = self.body.set_memory(from, self.limits.swap);
            self.limits.memory = Some(from);
            return self.pause_again();
        }
        self.goes_back = None;
        let used = Bytes(used.unwrap_or(0));
        let text =
            format!("its limit on memory is lowered from {from} to {to} again: it uses {used}");
        self.teller.tell(What::Note { text });
    }

    /// At the limit that it has from now on it is paused as well, where its ladder says so and it can be given more.
    pub(super) fn pause_again(&mut self) {
        if pausing_step(&self.plan.ladder) {
            self.ready_to_pause();
        }
    }
}
