//! Texts in which `▼` marks where a message must point.

/// The text without its marks, and where they were: line and column from 1.
pub fn marked(text: &str) -> (String, Vec<(u32, u32)>) {
    let mut clean = String::new();
    let mut marks = Vec::new();
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        match c {
            '▼' => marks.push((line, column)),
            '\n' => {
                clean.push(c);
                (line, column) = (line + 1, 1);
            }
            c => {
                clean.push(c);
                column += 1;
            }
        }
    }
    (clean, marks)
}
