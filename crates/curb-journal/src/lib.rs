//! curb-journal
