//! curb-http
