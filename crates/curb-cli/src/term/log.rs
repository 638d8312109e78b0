//! A followed log: Curb's own lines at its beginning, then the job's output.

use super::clean::sgr;

/// What Curb's own lines begin with.
const MARK: &str = "curb: ";

/// A piece of a followed log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A line of Curb: the job waits, starts, was refused. Without its line break.
    Talk(String),
    /// The job's own output, as it came.
    Output(String),
}

/// Tells Curb's lines at the beginning from the job's output. From the first line that does not begin with `curb: ` on,
/// everything is output.
#[derive(Clone, Debug, Default)]
pub struct LogSplitter {
    started: bool,
    held: String,
}

/// A line of Curb is never longer than this; a longer one is output.
const LONGEST_TALK: usize = 4096;

impl LogSplitter {
    /// Takes what came, gives what can be told of it.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.held.push_str(text);
        while !self.started && !self.held.is_empty() {
            let known = self.held.len().min(MARK.len());
            if self.held.as_bytes()[..known] != MARK.as_bytes()[..known]
                || self.held.len() > LONGEST_TALK
            {
                self.started = true;
            } else if let Some(end) = self.held.find('\n') {
                let line: String = self.held.drain(..=end).collect();
                pieces.push(Piece::Talk(line.trim_end().to_owned()));
            } else {
                break;
            }
        }
        if self.started && !self.held.is_empty() {
            pieces.push(Piece::Output(std::mem::take(&mut self.held)));
        }
        pieces
    }

    /// What is still held back at the end.
    pub fn finish(&mut self) -> Option<Piece> {
        let rest = std::mem::take(&mut self.held);
        (!rest.is_empty()).then_some(Piece::Output(rest))
    }
}

/// What of a job's output may reach a terminal: text, line breaks, carriage returns, tabs and colours. Programs draw
/// progress bars with these; everything else could change the terminal itself. In a pipe nothing is taken away.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    held: String,
}

impl LogFilter {
    /// The part of what came that can be shown; an unfinished colour is held back for the next call.
    pub fn push(&mut self, text: &str) -> String {
        let mut all = std::mem::take(&mut self.held);
        all.push_str(text);
        let mut out = String::with_capacity(all.len());
        let mut rest = all.as_str();
        while let Some(c) = rest.chars().next() {
            if let Some(length) = sgr(rest) {
                out.push_str(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
            if c == '\x1b'
                && rest.len() < 20
                && rest[1..]
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b"[;".contains(&b))
            {
                self.held = rest.to_owned();
                break;
            }
            if matches!(c, '\n' | '\r' | '\t') || !c.is_control() {
                out.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(parts: &[&str]) -> (Vec<String>, String) {
        let mut splitter = LogSplitter::default();
        let mut pieces: Vec<_> = parts.iter().flat_map(|p| splitter.push(p)).collect();
        pieces.extend(splitter.finish());
        let (mut talk, mut output) = (Vec::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Talk(line) => talk.push(line),
                Piece::Output(text) => output.push_str(&text),
            }
        }
        (talk, output)
    }

    #[test]
    fn lines_of_curb_come_first_and_only_first() {
        let (talk, output) = split(&[
            "curb: queued, position 2\ncu",
            "rb: started\nepoch 1\ncurb: not mine\n",
        ]);
        assert_eq!(talk, ["curb: queued, position 2", "curb: started"]);
        assert_eq!(output, "epoch 1\ncurb: not mine\n");
    }

    #[test]
    fn output_that_begins_like_curb_is_still_output() {
        assert_eq!(split(&["cur", "tain\n"]).1, "curtain\n");
        assert_eq!(
            split(&["curb: never ended"]),
            (vec![], "curb: never ended".into())
        );
    }

    #[test]
    fn a_progress_bar_passes_and_a_window_title_does_not() {
        let mut filter = LogFilter::default();
        assert_eq!(
            filter.push("\x1b[32m10%\x1b[0m\r\x1b[2J\x1b]0;x\x07\x1b[3"),
            "\x1b[32m10%\x1b[0m\r[2J]0;x"
        );
        assert_eq!(filter.push("1mred"), "\x1b[31mred");
    }

    proptest! {
        #[test]
        fn how_the_text_is_cut_into_frames_changes_nothing(text in "(curb: [a-z]{0,5}\n){0,3}[ -~\n\x1b]{0,40}", cuts in proptest::collection::vec(0usize..80, 0..6)) {
            let mut parts = Vec::new();
            let mut rest = text.as_str();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                parts.push(head);
                rest = tail;
            }
            parts.push(rest);
            prop_assert_eq!(split(&parts), split(&[&text]));
            let (mut whole, mut pieces) = (LogFilter::default(), LogFilter::default());
            let shown: String = parts.iter().map(|p| pieces.push(p)).collect();
            prop_assert_eq!(shown, whole.push(&text));
        }
    }
}
