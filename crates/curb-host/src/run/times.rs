//! Other limits on time for what runs, asked for by `curb limits apply`.

use std::time::Duration;

use curb_core::host::ladder::What;
use curb_core::time::Millis;

use super::millis;
use super::once::Once;
use crate::ask::{Question, Reply, Times, only_at_start};
use crate::limits::Limits;

impl Once<'_> {
    /// Answers one who asks.
    pub(super) fn answer(&mut self, question: Question) {
        let reply = self.take_times(question.times);
        // Whoever asked may have gone; what was taken stays, and is told.
        let _nobody_waits = question.answer.send(reply);
    }

    fn take_times(&mut self, times: Times) -> Reply {
        let before = Times::from(&self.limits);
        if self.stop.is_some() {
            return Reply::Refused("it is being ended already".to_owned());
        }
        if let Some(why) = self.too_short(before, times) {
            return Reply::Refused(why);
        }
        let span = |Millis(ms): Millis| Duration::from_millis(ms);
        self.limits.duration = times.duration.map(span);
        self.limits.cpu_time = times.cpu_time.map(span);
        for (name, was, is) in [
            ("duration", before.duration, times.duration),
            ("cpu_time", before.cpu_time, times.cpu_time),
        ] {
            if was != is {
                let words =
                    |limit: Option<Millis>| limit.map_or("no limit".to_owned(), |l| l.to_string());
                let (was, is) = (words(was), words(is));
                let text = format!("its {name} was changed from {was} to {is} while it ran");
                self.teller.tell(What::Note { text });
            }
        }
        Reply::Took {
            before,
            started: only_at_start(&self.limits),
        }
    }

    /// It would be ended at once: that is no change of a limit that anybody can want.
    fn too_short(&mut self, before: Times, times: Times) -> Option<String> {
        let ran = millis(self.begun.elapsed());
        if let Some(most) = times.duration.filter(|_| times.duration != before.duration)
            && most <= ran
        {
            return Some(format!(
                "duration: it has run for {ran} already: with {most} it would be ended at once"
            ));
        }
        let most = times
            .cpu_time
            .filter(|_| times.cpu_time != before.cpu_time)?;
        let asked = Limits {
            cpu_time: Some(Duration::from_millis(most.0)),
            ..self.limits.clone()
        };
        let counts = self.body.sample(self.begun.elapsed(), &asked).counts;
        let used = Millis(counts.cpu_micros? / 1000);
        (most <= used).then(|| {
            format!("cpu_time: it has used {used} already: with {most} it would be ended at once")
        })
    }
}
